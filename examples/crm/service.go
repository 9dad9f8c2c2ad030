package crm

import (
	"context"
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

	c    Config
	mu   sync.Mutex // guards what is in the records
	data map[string]*record
}

// record is all that is known of a customer.
type record struct {
	customer *crmv1.Customer
	orders   []*crmv1.Order // newest first
}

func samples() map[string]*record {
	since := timestamppb.New(time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC))
	of := func(id, name, notes string, orders ...*crmv1.Order) *record {
		for _, o := range orders {
			o.CustomerId = id
		}
		return &record{&crmv1.Customer{CustomerId: id, Name: name, Email: id + "@acme.example", Since: since, Notes: notes}, orders}
	}
	return map[string]*record{
		"alice": of("alice", "Alice", "pays late", &crmv1.Order{OrderId: "O-5002", TotalCents: 1_900, State: crmv1.OrderState_ORDER_STATE_SHIPPED},
			&crmv1.Order{OrderId: "O-5001", TotalCents: 74_900, State: crmv1.OrderState_ORDER_STATE_DELIVERED}),
		"bob": of("bob", "Bob", "buys everything", &crmv1.Order{OrderId: "O-5003", TotalCents: 12_900, State: crmv1.OrderState_ORDER_STATE_PAID}),
	}
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
	return &crmv1.GetCustomerResponse{Customer: r.customer}, nil
}

func (s *service) ListOrders(ctx context.Context, q *crmv1.ListOrdersRequest) (*crmv1.ListOrdersResponse, error) {
	r, err := s.record(ctx, "list_orders", q.GetCustomerId(), "crm.read")
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
	r, err := s.record(stream.Context(), "stream_invoices", q.GetCustomerId(), "crm.read")
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
		if n := q.GetAmountCents(); n <= 0 || n > o.GetTotalCents()-o.GetRefundedCents() {
			return nil, status.Error(codes.FailedPrecondition, "the amount must be more than 0 and no more than is left of the order")
		}
		o.RefundedCents += q.GetAmountCents()
		return &crmv1.RefundOrderResponse{Order: proto.CloneOf(o)}, nil
	}
	return nil, status.Error(codes.NotFound, "the customer has no such order")
}
