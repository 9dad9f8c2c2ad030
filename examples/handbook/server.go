package handbook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/examples/backend"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Config is what a server needs.
type Config struct {
	Verifier *calltoken.Verifier
	Tenant   string       // whose handbook it is
	Logger   *slog.Logger // who asked; nil: silent
}

// New makes the handler of the server's one URL, which is /mcp.
func New(c Config) (http.Handler, error) {
	if c.Verifier == nil || c.Tenant == "" {
		return nil, errors.New("a verifier and a tenant are required")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	all, err := load()
	if err != nil {
		return nil, err
	}
	h := mcp.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		claims, _ := calltoken.FromContext(r.Context())
		return (&desk{c: c, claims: claims, articles: all}).server()
	}, &mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true, MaxRequestBodyBytes: maxBody})
	signed := c.Verifier.Middleware(h, nil) // which tool it is for, the tool asks
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(calltoken.Header) == "" { // the list; a call will be refused
			h.ServeHTTP(w, r)
			return
		}
		signed.ServeHTTP(w, r)
	})
	return mux, nil
}

const maxBody = 1 << 20

// desk answers one request.
type desk struct {
	c        Config
	claims   *calltoken.Claims // of its token; nil: it has none
	articles []article
}

func (d *desk) server() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "handbook", Version: "1"}, nil)
	reads := &mcp.ToolAnnotations{ReadOnlyHint: true}
	mcp.AddTool(s, &mcp.Tool{Name: searchTool, Description: "Finds articles of the support handbook by words.", Annotations: reads},
		func(ctx context.Context, _ *mcp.CallToolRequest, in query) (*mcp.CallToolResult, found, error) {
			if err := d.may(ctx, searchTool); err != nil {
				return nil, found{}, err
			}
			return nil, search(d.articles, in.Query), nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: readTool, Description: "Reads an article of the support handbook.", Annotations: reads},
		func(ctx context.Context, _ *mcp.CallToolRequest, in wanted) (*mcp.CallToolResult, article, error) {
			if err := d.may(ctx, readTool); err != nil {
				return nil, article{}, err
			}
			a, err := read(d.articles, in.ID)
			return nil, a, err
		})
	return s
}

// may is what a backend still decides, and writes down who asked, through whom.
func (d *desk) may(ctx context.Context, tool string) error {
	switch c := d.claims; {
	case c == nil:
		d.c.Logger.WarnContext(ctx, "a call was refused", slog.String("tool", tool), slog.String("why", "it has no token"))
	case c.Tool != tool:
		d.c.Logger.WarnContext(ctx, "a call was refused", slog.String("tool", tool), slog.String("why", "the token is for another tool"))
	case c.Tenant != d.c.Tenant:
		d.c.Logger.InfoContext(ctx, "refused "+tool+" for "+backend.Who(c), slog.String("tenant", c.Tenant))
	default:
		d.c.Logger.InfoContext(ctx, tool+" for "+backend.Who(c), slog.String("decision", c.Decision.ID), slog.String("txn", c.Transaction))
		return nil
	}
	return errors.New("the call token was not accepted")
}
