// Command manasctl is what an operator does at the machine, without a session:
// it speaks to auth and payment with a certificate of its own.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

const (
	name      = "manasctl"
	callLimit = 15 * time.Second
	readLimit = 30 * time.Minute // for all of the ledger

	exitFailed = 1
	exitUsage  = 2
)

const usage = `manasctl [flags] keys list
manasctl [flags] keys rotate -reason "why, in 10 characters or more"
manasctl [flags] keys kill <kid> -reason "why, in 10 characters or more"
manasctl [flags] ledger export
manasctl [flags] ledger verify
manasctl audit verify -h

rotate lets the key that stands by sign: at once, or when every verifier must
have it. kill makes every token of a key invalid within two seconds; another
key signs at once. export writes the sealed journals for hledger; verify makes
every seal anew and fails when one differs.

Flags:
`

// settings are where auth and payment are and who asks.
type settings struct {
	data, auth, payment, cert, key, ca string
	operator, reason                   string
}

var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, getenv func(string) string, out, problems io.Writer) int {
	if rest, ok := auditArgs(args); ok {
		return verifyAudit(ctx, rest, out, problems)
	}
	var s settings
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(problems)
	flags.Usage = func() {
		_, _ = io.WriteString(problems, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&s.data, "data", "", "data `folder` of a local stack, such as .data: it says where auth is and holds the certificate")
	flags.StringVar(&s.auth, "auth", getenv("AUTH_ADDR"), "`host:port` of auth (AUTH_ADDR)")
	flags.StringVar(&s.payment, "payment", getenv("PAYMENT_ADDR"), "`host:port` of payment (PAYMENT_ADDR)")
	flags.StringVar(&s.cert, "cert", getenv("TLS_CERT_FILE"), "certificate of manasctl, PEM `file` (TLS_CERT_FILE)")
	flags.StringVar(&s.key, "key", getenv("TLS_KEY_FILE"), "its key, PEM `file` (TLS_KEY_FILE)")
	flags.StringVar(&s.ca, "ca", getenv("TLS_CA_FILE"), "the suite's authority, PEM `file` (TLS_CA_FILE)")
	flags.StringVar(&s.operator, "operator", osUser(), "who asks, for the audit trail")
	flags.StringVar(&s.reason, "reason", "", "why, for the audit trail")
	words, err := parse(flags, args)
	if err == nil {
		err = do(ctx, s, words, out)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		flags.Usage()
		return exitUsage
	case err != nil:
		say(problems, err)
		return exitFailed
	}
	return 0
}

// parse takes flags from before, between and after the words.
func parse(flags *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err //nolint:wrapcheck // told apart by the caller
			}
			return nil, errUsage
		}
		if args = flags.Args(); len(args) == 0 {
			return words, nil
		}
		words, args = append(words, args[0]), args[1:]
	}
}

func say(w io.Writer, err error) {
	if e, ok := fail.As(err); ok {
		_, _ = fmt.Fprintf(w, "manasctl: %s (%s)\n", e.Msg, e.Kind.Reason)
		for _, f := range e.Fields {
			_, _ = fmt.Fprintf(w, "  %s: %s\n", f.Field, f.Message)
		}
		return
	}
	_, _ = fmt.Fprintf(w, "manasctl: %v\n", err)
}

func osUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

func do(ctx context.Context, s settings, words []string, out io.Writer) error {
	if len(words) < 2 || words[0] != "keys" && words[0] != "ledger" {
		return errUsage
	}
	if err := s.local(); err != nil {
		return err
	}
	peer, addr, limit := "auth", s.auth, callLimit
	if words[0] == "ledger" {
		peer, addr, limit = "payment", s.payment, readLimit
	}
	if addr == "" {
		return fmt.Errorf("where is %[1]s? give -data, or -%[1]s with -cert, -key and -ca", peer)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	log := zerolog.Nop()
	p := boot.NewProcess(ctx, name, boot.Base{TLSCertFile: s.cert, TLSKeyFile: s.key, TLSCAFile: s.ca}, log, time.Now, rand.Reader)
	conn, err := rpc.Dial(p, peer, addr)
	if err != nil {
		return err
	}
	if peer == "payment" {
		err = ledger(ctx, paymentv1.NewLedgerInternalServiceClient(conn), words[1:], out)
	} else {
		err = keys(ctx, authv1.NewKeyInternalServiceClient(conn), s, words[1:], out)
	}
	return errors.Join(err, p.Stop(context.WithoutCancel(ctx)))
}

// local fills what a local stack's folder knows.
func (s *settings) local() error {
	if s.data == "" {
		return nil
	}
	raw, err := os.ReadFile(filepath.Clean(filepath.Join(s.data, "ports.json")))
	if err != nil {
		return fmt.Errorf("is the local stack running? %w", err)
	}
	type service struct {
		GRPC int `json:"grpc"`
	}
	var ports struct {
		Auth    service `json:"auth"`
		Payment service `json:"payment"`
	}
	if err := json.Unmarshal(raw, &ports); err != nil {
		return fmt.Errorf("read ports.json: %w", err)
	}
	tls := func(file string) string { return filepath.Join(s.data, "tls", file) }
	s.auth = cmp.Or(s.auth, "127.0.0.1:"+strconv.Itoa(ports.Auth.GRPC))
	s.payment = cmp.Or(s.payment, "127.0.0.1:"+strconv.Itoa(ports.Payment.GRPC))
	s.cert, s.key, s.ca = cmp.Or(s.cert, tls(name+".pem")), cmp.Or(s.key, tls(name+"-key.pem")), cmp.Or(s.ca, tls("ca.pem"))
	return nil
}

func keys(ctx context.Context, auth authv1.KeyInternalServiceClient, s settings, words []string, out io.Writer) error {
	switch {
	case words[0] == "list" && len(words) == 1:
		r, err := auth.ListSigningKeys(ctx, &authv1.ListSigningKeysRequest{})
		if err != nil {
			return err
		}
		return table(out, r.GetKeys()...)
	case words[0] == "rotate" && len(words) == 1:
		r, err := auth.RotateSigningKey(ctx, &authv1.RotateSigningKeyRequest{Reason: s.reason, Operator: s.operator})
		if err != nil {
			return err
		}
		return table(out, r.GetKey())
	case words[0] == "kill" && len(words) == 2:
		r, err := auth.KillSigningKey(ctx, &authv1.KillSigningKeyRequest{Kid: words[1], Reason: s.reason, Operator: s.operator})
		if err != nil {
			return err
		}
		return table(out, r.GetKey())
	default:
		return errUsage
	}
}

func table(out io.Writer, list ...*authv1.SigningKey) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "KID\tALG\tSTATE\tCREATED\tSIGNS FROM\tGOOD UNTIL\tDEAD SINCE")
	for _, k := range list {
		signs := k.GetActivatedAt()
		if signs == nil {
			signs = k.GetSignsAt()
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.GetKid(), k.GetAlg(), k.GetState(),
			when(k.GetCreatedAt()), when(signs), when(k.GetVerifyUntil()), when(k.GetDeadAt()))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}
