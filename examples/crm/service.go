package crm

import (
	"context"
	"fmt"
	"sync"
	"time"

	crmv1 "github.com/behalf-dev/behalf/gen/crm/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

type service struct {
	crmv1.UnimplementedCustomersServiceServer

	c       Config
	mu      sync.Mutex // guards what is in the records, and the number
	data    map[string]*record
	refunds int
}

// record is all that is known of a customer.
type record struct {
	customer *crmv1.GetCustomerResponse
	orders   []*crmv1.Order // newest first
}

func samples() map[string]*record {
	const shipped, delivered = crmv1.OrderState_ORDER_STATE_SHIPPED, crmv1.OrderState_ORDER_STATE_DELIVERED
	return map[string]*record{
		"C-1001": newRecord(&crmv1.GetCustomerResponse{CustomerId: "C-1001", Name: "Ines Moreau", Email: "ines@customer.example", Ssn: "078-05-1120", Tier: "gold", Notes: "buys everything"},
			&crmv1.Order{OrderId: "O-5002", Item: "milk jug", TotalCents: 1_900, State: delivered},
			&crmv1.Order{OrderId: "O-5001", Item: "espresso machine", TotalCents: 74_900, State: delivered}),
		"C-1002": newRecord(&crmv1.GetCustomerResponse{CustomerId: "C-1002", Name: "Tom Baker", Email: "tom@customer.example", Ssn: "219-09-9999", Tier: "standard", Notes: "pays late"},
			&crmv1.Order{OrderId: "O-5003", Item: "grinder", TotalCents: 12_900, State: shipped}),
		// Of the staff too one buys something, for herself.
		"alice": newRecord(&crmv1.GetCustomerResponse{CustomerId: "alice", Name: "Alice", Email: "alice@acme.example", Ssn: "457-55-5462", Tier: "standard", Notes: "works here"},
			&crmv1.Order{OrderId: "O-5005", Item: "mug", TotalCents: 1_900, State: shipped},
			&crmv1.Order{OrderId: "O-5004", Item: "kettle", TotalCents: 74_900, State: delivered}),
	}
}

func newRecord(c *crmv1.GetCustomerResponse, orders ...*crmv1.Order) *record {
	c.Since = timestamppb.New(time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC))
	for _, o := range orders {
		o.CustomerId = c.GetCustomerId()
	}
	return &record{c, orders}
}

// record finds a customer whom the caller may see.
func (s *service) record(ctx context.Context, tool, id, scope string) (*record, error) {
	if err := s.may(ctx, tool, id, scope); err != nil {
		return nil, err
	}
	r := s.data[id]
	if r == nil {
		return nil, status.Error(codes.NotFound, "there is no such customer")
	}
	return r, nil
}

func (s *service) GetCustomer(ctx context.Context, q *crmv1.GetCustomerRequest) (*crmv1.GetCustomerResponse, error) {
	r, err := s.record(ctx, "get_customer", q.GetCustomerId(), "crm.read")
	if err != nil {
		return nil, err
	}
	return r.customer, nil
}

func (s *service) ListOrders(ctx context.Context, q *crmv1.ListOrdersRequest) (*crmv1.ListOrdersResponse, error) {
	r, err := s.record(ctx, "list_orders", q.GetCustomerId(), "orders.read")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &crmv1.ListOrdersResponse{}
	for i, o := range r.orders {
		if n := q.GetLimit(); n > 0 && i >= int(n) {
			break
		}
		out.Orders = append(out.Orders, proto.CloneOf(o))
	}
	return out, nil
}

func (s *service) StreamInvoices(q *crmv1.StreamInvoicesRequest, stream grpc.ServerStreamingServer[crmv1.StreamInvoicesResponse]) error {
	r, err := s.record(stream.Context(), "stream_invoices", q.GetCustomerId(), "orders.read")
	if err != nil {
		return err
	}
	for _, inv := range s.invoices(r) {
		if err := stream.Send(inv); err != nil {
			return err
		}
	}
	return nil
}

// invoices are those of the orders, oldest first.
func (s *service) invoices(r *record) []*crmv1.StreamInvoicesResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*crmv1.StreamInvoicesResponse
	for i := len(r.orders) - 1; i >= 0; i-- {
		o := r.orders[i]
		out = append(out, &crmv1.StreamInvoicesResponse{Number: "I" + o.GetOrderId()[1:], OrderId: o.GetOrderId(), DueCents: o.GetTotalCents() - o.GetRefundedCents()})
	}
	return out
}

func (s *service) RefundOrder(ctx context.Context, q *crmv1.RefundOrderRequest) (*crmv1.RefundOrderResponse, error) {
	r, err := s.record(ctx, "refund_order", q.GetCustomerId(), "orders.refund")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range r.orders {
		if o.GetOrderId() != q.GetOrderId() {
			continue
		}
		return s.refund(o, q.GetAmountCents())
	}
	return nil, status.Error(codes.NotFound, "the customer has no such order")
}

// refund is for whoever holds the lock.
func (s *service) refund(o *crmv1.Order, cents int64) (*crmv1.RefundOrderResponse, error) {
	left := o.GetTotalCents() - o.GetRefundedCents()
	if cents <= 0 || cents > left {
		return nil, status.Error(codes.FailedPrecondition, "the amount must be more than 0 and no more than is left of the order")
	}
	o.RefundedCents += cents
	s.refunds++
	return &crmv1.RefundOrderResponse{RefundId: fmt.Sprintf("R-%04d", s.refunds), OrderId: o.GetOrderId(), AmountCents: cents, LeftCents: left - cents}, nil
}
