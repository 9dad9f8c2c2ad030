package supportdesk

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/behalf-dev/behalf/tools"
)

// Files holds the desk's config, policies, people and rules, what is known of the
// servers behind its tools, and sample data.
//
//go:embed behalf.yaml desk.yaml people.yaml crm.binpb tools.lock policies data
var Files embed.FS

// Customer is a person who bought something, as the customers' backend has it.
type Customer struct {
	ID    string `json:"customer_id"`
	Name  string `json:"name"`
	Email string `json:"email"`
	SSN   string `json:"ssn"`
	Tier  string `json:"tier"`
}

// Order is one thing that a customer bought.
type Order struct {
	ID          string `json:"id"`
	CustomerID  string `json:"customer_id"`
	Item        string `json:"item"`
	AmountCents int64  `json:"amount_cents"`
	Status      string `json:"status"`
}

// Refund is money on its way back.
type Refund struct {
	RefundID    string `json:"refund_id"`
	OrderID     string `json:"order_id"`
	AmountCents int64  `json:"amount_cents"`
}

type customerArgs struct {
	CustomerID string `json:"customer_id" jsonschema:"the customer's id, for example C-1001"`
}

type refundArgs struct {
	CustomerID  string `json:"customer_id,omitempty" jsonschema:"whose order it is"`
	OrderID     string `json:"order_id" jsonschema:"the order's id, for example O-5001"`
	AmountCents int64  `json:"amount_cents" jsonschema:"how much to pay back, in cents"`
	Reason      string `json:"reason" jsonschema:"why, in a few words"`
}

type orders struct {
	Orders []Order `json:"orders"`
}

// Desk is the desk's data. It may be used by many goroutines.
type Desk struct {
	mu        sync.Mutex
	customers map[string]Customer
	orders    map[string]Order
	sequence  int
}

// New loads the sample data.
func New() (*Desk, error) {
	d := &Desk{customers: map[string]Customer{}, orders: map[string]Order{}}
	var cs []Customer
	var os []Order
	if err := errors.Join(read("data/customers.json", &cs), read("data/orders.json", &os)); err != nil {
		return nil, err
	}
	for _, c := range cs {
		d.customers[c.ID] = c
	}
	for _, o := range os {
		d.orders[o.ID] = o
	}
	return d, nil
}

func read(name string, into any) error {
	b, err := Files.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return json.Unmarshal(b, into)
}

// Tools are the desk's functions, ready for behalf.WithTools.
func (d *Desk) Tools() []tools.Tool {
	return []tools.Tool{
		tools.Func("get_customer", "Looks up a customer by id.", d.customer, tools.ReadOnly(), tools.Scopes("crm.read")),
		tools.Func("list_orders", "Lists a customer's orders.", d.ordersOf, tools.ReadOnly(), tools.Scopes("orders.read")),
		tools.Func("refund_order", "Pays back an order, whole or in part.", d.refund, tools.Scopes("orders.refund"), tools.Risk("high")),
	}
}

func (d *Desk) customer(_ context.Context, in customerArgs) (Customer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.customers[in.CustomerID]
	if !ok {
		return Customer{}, errors.New("no such customer")
	}
	return c, nil
}

func (d *Desk) ordersOf(_ context.Context, in customerArgs) (orders, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := orders{Orders: []Order{}}
	for _, id := range slices.Sorted(maps.Keys(d.orders)) {
		if o := d.orders[id]; o.CustomerID == in.CustomerID {
			found.Orders = append(found.Orders, o)
		}
	}
	return found, nil
}

func (d *Desk) refund(_ context.Context, in refundArgs) (Refund, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, ok := d.orders[in.OrderID]
	switch {
	case !ok || in.CustomerID != "" && in.CustomerID != o.CustomerID:
		return Refund{}, errors.New("no such order")
	case o.Status == "refunded":
		return Refund{}, errors.New("this order was refunded before")
	case in.AmountCents <= 0 || in.AmountCents > o.AmountCents:
		return Refund{}, errors.New("the amount must be more than zero and at most what the order cost")
	}
	o.Status = "refunded"
	d.orders[o.ID] = o
	d.sequence++
	return Refund{RefundID: fmt.Sprintf("R-%04d", d.sequence), OrderID: o.ID, AmountCents: in.AmountCents}, nil
}
