package payment

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/manas360/platform/services/payment/factstate"
)

var ours = regexp.MustCompile(`P[A-Z2-7]{26}-[0-9]+`)

// echo has a script speak of the order that it is asked about.
func (f *scripted) echo() *scripted {
	name := anOrder
	f.judge = func(r *http.Request, body string) {
		got := ours.FindString(r.URL.String() + body)
		if got == "" || got == name {
			return
		}
		for _, list := range f.answers {
			for i := range list {
				list[i].body = strings.ReplaceAll(list[i].body, name, got)
			}
		}
		name = got
	}
	return f
}

// TestLostPageIsFound: the answer to pay was lost, and the repeat brings the
// customer to the one order's page. money.md B18, B24.
func TestLostPageIsFound(t *testing.T) {
	for _, tt := range []struct {
		code, line, page string
		script           map[string][]spoken
		offer            func(*scripted, func() time.Time) provider
	}{
		{razorpayCode, rpLinks, "https://rzp.io/i/1", map[string][]spoken{
			rpLinks: {{0, ""}, {400, rpBad}}, rpFind: {{200, `{"payment_links":[` + strings.Replace(openLink, "1795429260", "0", 1) + `]}`}}, rpPayments: {{200, `{"items":[]}`}},
		}, func(f *scripted, now func() time.Time) provider { c := f.razorpay(); c.now = now; return c }},
		{stripeCode, stSessions, "https://checkout.stripe.com/c/1", map[string][]spoken{
			stSessions: {{0, ""}, {200, openSession}},
		}, func(f *scripted, now func() time.Time) provider { c := f.stripe(); c.now = now; return c }},
	} {
		t.Run(tt.code, func(t *testing.T) {
			r := newRig(t)
			f := script(t, tt.script).echo()
			r.providers[tt.code] = tt.offer(f, r.clock)
			in := someOrder()
			in.Provider = tt.code
			if _, err := r.create(t.Context(), in); err == nil {
				t.Fatal("opened without an answer")
			}
			if n := r.number(`SELECT count(*) FROM payment.attempt WHERE state = 'unknown'`); n != 1 {
				t.Fatal("an answer that was lost is not unknown")
			}
			p := r.open(in)
			if p.State != factstate.Pending || p.RedirectURL != tt.page {
				t.Errorf("%s, pay at %q, want %q", p.State, p.RedirectURL, tt.page)
			}
			if n := r.number(`SELECT count(*) FROM payment.attempt`); n != 1 {
				t.Errorf("%d orders, want 1", n)
			}
		})
	}
}

// TestOneCallByMany: fifty at once with one request make one call. money.md B24.
func TestOneCallByMany(t *testing.T) {
	r := newRig(t)
	f := script(t, map[string][]spoken{rpLinks: {{200, openLink}}}).echo()
	c := f.razorpay()
	c.now = r.clock
	r.providers[razorpayCode] = c
	in := someOrder()
	in.Provider = razorpayCode
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 50 {
		wg.Go(func() {
			<-start
			if p, err := r.create(t.Context(), in); err != nil || p.RedirectURL == "" {
				t.Errorf("%q, %v", p.RedirectURL, err)
			}
		})
	}
	close(start)
	wg.Wait()
	if n := f.count(rpLinks); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// TestNoCallInTransactions: money.md B19. No function that a transaction runs
// leads to a provider, by the names of what it calls.
func TestNoCallInTransactions(t *testing.T) {
	calls, inTx := map[string]map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			if calls[f.Name.Name] == nil {
				calls[f.Name.Name] = map[string]bool{}
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				c, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				calls[f.Name.Name][called(c)] = true
				if called(c) == "InTx" {
					for _, arg := range c.Args {
						ast.Inspect(arg, func(n ast.Node) bool {
							if c, ok := n.(*ast.CallExpr); ok {
								inTx[called(c)] = true
							}
							return true
						})
					}
				}
				return true
			})
		}
	}
	reaches := func(from map[string]bool) bool {
		seen, next := map[string]bool{}, []string{}
		for name := range from {
			next = append(next, name)
		}
		for len(next) > 0 {
			name := next[0]
			next = next[1:]
			if name == "exchange" {
				return true
			}
			if !seen[name] {
				seen[name] = true
				for to := range calls[name] {
					next = append(next, to)
				}
			}
		}
		return false
	}
	for name := range inTx {
		if reaches(map[string]bool{name: true}) {
			t.Errorf("%s is called in a transaction, and leads to a provider", name)
		}
	}
	if found := reaches(map[string]bool{"create": true}); len(inTx) < 5 || !found {
		t.Errorf("the test sees nothing: %d calls in transactions, create reaches a provider: %v", len(inTx), found)
	}
}

func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	default:
		return ""
	}
}
