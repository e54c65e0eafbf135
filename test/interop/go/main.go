// Command interop plays the story of story.ts over one protocol and prints what it saw as JSON.
// It is built from this file and from what proto/ generates; see go-client.test.ts.
//
//	interop grpc|connect|connect-grpc|connect-grpcweb HOST:PORT REPOSITORY
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	leaseholdv1 "interop/gen/leasehold/v1"
	"interop/gen/leasehold/v1/leaseholdv1connect"
)

// client is what both generated clients have in common once their wrapping is taken off.
type client interface {
	Acquire(context.Context, *leaseholdv1.AcquireRequest) (*leaseholdv1.AcquireResponse, error)
	Heartbeat(context.Context, *leaseholdv1.HeartbeatRequest) (*leaseholdv1.HeartbeatResponse, error)
	Release(context.Context, *leaseholdv1.ReleaseRequest) (*leaseholdv1.ReleaseResponse, error)
	ListActive(context.Context, *leaseholdv1.ListActiveRequest) (*leaseholdv1.ListActiveResponse, error)
	// Watch returns a function that receives the next item, and io.EOF after the last.
	Watch(context.Context, *leaseholdv1.WatchRequest) (func() (*leaseholdv1.WatchResponse, error), error)
}

type refusal struct {
	Code   string   `json:"code"`
	Domain string   `json:"domain"`
	Reason string   `json:"reason"`
	Fields []string `json:"fields"`
}

type story struct {
	LeaseID          string            `json:"leaseId"`
	SameLease        bool              `json:"sameLease"`
	Readme           string            `json:"readme"`
	Source           string            `json:"source"`
	RemainingSeconds float64           `json:"remainingSeconds"`
	Active           []string          `json:"active"`
	Labels           map[string]string `json:"labels"`
	Forged           refusal           `json:"forged"`
	Wrong            refusal           `json:"wrong"`
	AlreadyReleased  []bool            `json:"alreadyReleased"`
	Late             refusal           `json:"late"`
	Events           []string          `json:"events"`
	EndReason        string            `json:"endReason"`
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	protocol, target, repository := os.Args[1], os.Args[2], os.Args[3]
	seen, err := play(ctx, dial(protocol, target), repository, "go "+protocol)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(seen)
}

func play(ctx context.Context, leases client, repository, holder string) (*story, error) {
	next, err := leases.Watch(ctx, &leaseholdv1.WatchRequest{Holder: holder})
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	if first, err := next(); err != nil || first.GetSnapshotEnd() == nil {
		return nil, fmt.Errorf("watch began with %v, %w", first, err)
	}

	request := &leaseholdv1.AcquireRequest{
		RequestId:  fmt.Sprint(holder, time.Now().UnixNano()),
		Repository: repository,
		Holder:     holder,
		Labels:     map[string]string{"job": "interop"},
	}
	acquired, err := leases.Acquire(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("acquire: %w", err)
	}
	again, err := leases.Acquire(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("acquire again: %w", err)
	}
	id, token := acquired.GetLease().GetLeaseId(), acquired.GetLeaseToken()
	readme, err := os.ReadFile(filepath.Join(acquired.GetWorkspace().GetPath(), "README.md"))
	if err != nil {
		return nil, err
	}

	renewed, err := leases.Heartbeat(ctx, &leaseholdv1.HeartbeatRequest{
		LeaseId: id, LeaseToken: token, Ttl: durationpb.New(120 * time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	listed, err := leases.ListActive(ctx, &leaseholdv1.ListActiveRequest{Holder: holder})
	if err != nil {
		return nil, fmt.Errorf("list active: %w", err)
	}
	seen := &story{
		LeaseID:          id,
		SameLease:        again.GetLease().GetLeaseId() == id && again.GetLeaseToken() == token,
		Readme:           string(readme),
		Source:           acquired.GetSource().String(),
		RemainingSeconds: renewed.GetLease().GetRemaining().AsDuration().Seconds(),
	}
	for _, workspace := range listed.GetWorkspaces() {
		seen.Active = append(seen.Active, workspace.GetLease().GetLeaseId())
		seen.Labels = workspace.GetLease().GetLabels()
	}

	_, err = leases.Heartbeat(ctx, &leaseholdv1.HeartbeatRequest{LeaseId: id, LeaseToken: token[:len(token)-2] + "AA"})
	seen.Forged = refusalOf(err)
	_, err = leases.Acquire(ctx, &leaseholdv1.AcquireRequest{Ttl: durationpb.New(-time.Second)})
	seen.Wrong = refusalOf(err)
	for range 2 {
		released, err := leases.Release(ctx, &leaseholdv1.ReleaseRequest{LeaseId: id, LeaseToken: token})
		if err != nil {
			return nil, fmt.Errorf("release: %w", err)
		}
		seen.AlreadyReleased = append(seen.AlreadyReleased, released.GetAlreadyReleased())
	}
	_, err = leases.Heartbeat(ctx, &leaseholdv1.HeartbeatRequest{LeaseId: id, LeaseToken: token})
	seen.Late = refusalOf(err)

	for seen.EndReason == "" {
		item, err := next()
		if err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		event := item.GetEvent()
		if event.GetLeaseId() != id {
			continue
		}
		seen.Events = append(seen.Events, event.GetKind().String())
		if event.GetKind() == leaseholdv1.EventKind_EVENT_KIND_LEASE_ENDED {
			seen.EndReason = event.GetReason().String()
		}
	}
	return seen, nil
}

// refusalOf reads the details that the server attached to an error, whichever client made it.
func refusalOf(err error) refusal {
	seen := refusal{Code: "OK", Fields: []string{}}
	var details []proto.Message
	var failed *connect.Error
	if errors.As(err, &failed) {
		seen.Code = statusNames[uint32(failed.Code())]
		for _, detail := range failed.Details() {
			if value, err := detail.Value(); err == nil {
				details = append(details, value)
			}
		}
	} else if known, ok := status.FromError(err); ok {
		seen.Code = statusNames[uint32(known.Code())]
		for _, detail := range known.Details() {
			if value, ok := detail.(proto.Message); ok {
				details = append(details, value)
			}
		}
	}
	for _, detail := range details {
		switch value := detail.(type) {
		case *errdetails.ErrorInfo:
			seen.Domain, seen.Reason = value.GetDomain(), value.GetReason()
		case *errdetails.BadRequest:
			for _, violation := range value.GetFieldViolations() {
				seen.Fields = append(seen.Fields, violation.GetField())
			}
		}
	}
	sort.Strings(seen.Fields)
	return seen
}

var statusNames = map[uint32]string{0: "OK", 3: "INVALID_ARGUMENT", 7: "PERMISSION_DENIED", 9: "FAILED_PRECONDITION"}

func dial(protocol, target string) client {
	if protocol == "grpc" {
		connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			panic(err)
		}
		return grpcClient{leaseholdv1.NewWorkspaceServiceClient(connection)}
	}
	httpClient, options := http.DefaultClient, []connect.ClientOption{}
	switch protocol {
	case "connect":
	case "connect-grpc":
		// gRPC needs HTTP/2, here without TLS.
		httpProtocols := new(http.Protocols)
		httpProtocols.SetUnencryptedHTTP2(true)
		httpClient = &http.Client{Transport: &http.Transport{Protocols: httpProtocols}}
		options = append(options, connect.WithGRPC())
	case "connect-grpcweb":
		options = append(options, connect.WithGRPCWeb())
	default:
		panic("unknown protocol " + protocol)
	}
	return connectClient{leaseholdv1connect.NewWorkspaceServiceClient(httpClient, "http://"+target, options...)}
}

// grpcClient adapts what protoc-gen-go-grpc generated.
type grpcClient struct {
	generated leaseholdv1.WorkspaceServiceClient
}

func (c grpcClient) Acquire(ctx context.Context, r *leaseholdv1.AcquireRequest) (*leaseholdv1.AcquireResponse, error) {
	return c.generated.Acquire(ctx, r)
}

func (c grpcClient) Heartbeat(ctx context.Context, r *leaseholdv1.HeartbeatRequest) (*leaseholdv1.HeartbeatResponse, error) {
	return c.generated.Heartbeat(ctx, r)
}

func (c grpcClient) Release(ctx context.Context, r *leaseholdv1.ReleaseRequest) (*leaseholdv1.ReleaseResponse, error) {
	return c.generated.Release(ctx, r)
}

func (c grpcClient) ListActive(ctx context.Context, r *leaseholdv1.ListActiveRequest) (*leaseholdv1.ListActiveResponse, error) {
	return c.generated.ListActive(ctx, r)
}

func (c grpcClient) Watch(ctx context.Context, r *leaseholdv1.WatchRequest) (func() (*leaseholdv1.WatchResponse, error), error) {
	stream, err := c.generated.Watch(ctx, r)
	if err != nil {
		return nil, err
	}
	return stream.Recv, nil
}

// connectClient adapts what protoc-gen-connect-go generated.
type connectClient struct {
	generated leaseholdv1connect.WorkspaceServiceClient
}

func unary[Q, A any](ctx context.Context, call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), request *Q) (*A, error) {
	response, err := call(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

func (c connectClient) Acquire(ctx context.Context, r *leaseholdv1.AcquireRequest) (*leaseholdv1.AcquireResponse, error) {
	return unary(ctx, c.generated.Acquire, r)
}

func (c connectClient) Heartbeat(ctx context.Context, r *leaseholdv1.HeartbeatRequest) (*leaseholdv1.HeartbeatResponse, error) {
	return unary(ctx, c.generated.Heartbeat, r)
}

func (c connectClient) Release(ctx context.Context, r *leaseholdv1.ReleaseRequest) (*leaseholdv1.ReleaseResponse, error) {
	return unary(ctx, c.generated.Release, r)
}

func (c connectClient) ListActive(ctx context.Context, r *leaseholdv1.ListActiveRequest) (*leaseholdv1.ListActiveResponse, error) {
	return unary(ctx, c.generated.ListActive, r)
}

func (c connectClient) Watch(ctx context.Context, r *leaseholdv1.WatchRequest) (func() (*leaseholdv1.WatchResponse, error), error) {
	stream, err := c.generated.Watch(ctx, connect.NewRequest(r))
	if err != nil {
		return nil, err
	}
	return func() (*leaseholdv1.WatchResponse, error) {
		if stream.Receive() {
			return stream.Msg(), nil
		}
		if err := stream.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}, nil
}
