// Command auditverify reads the audit log again and tells whether it is as it
// was written. It shares nothing with a running audit service but the tables,
// and needs nothing at all to check one proof.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/manas360/platform/services/audit"
	"github.com/manas360/platform/services/audit/notary"
)

const (
	exitOK     = 0
	exitFailed = 1 // it could not be verified
	exitUsage  = 2
	exitBroken = 3 // it was, and is not as it was written
)

const usage = `manasctl audit verify [-full | -since SEQ] [flags]
manasctl audit verify -proof FILE [-event FILE] [flags]

Reads the log again: leaf hashes and search columns from the stored bytes of
each event, tiles from the leaves, the root from the tiles, and the signatures
of every checkpoint. With -proof it checks one answer of
GET /api/v1/audit/events/{id}/proof (or a C2SP .tlog-proof) without a database;
-event is the same event as ?view=RAW answers it.

Each fault is one line. Exit status: 0 nothing found, 1 not verified, 2 wrong
usage, 3 the log, or the proof, does not hold.

Flags:
`

type settings struct {
	full            bool
	since           int64
	proof, event    string
	database, data  string
	origin          string
	logKey, witness string
	workers         int
	quiet           bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, out, progress io.Writer) int {
	var s settings
	flags := flag.NewFlagSet("auditverify", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.Usage = func() {
		_, _ = io.WriteString(progress, usage)
		flags.PrintDefaults()
	}
	flags.BoolVar(&s.full, "full", false, "read all of the log; what is done without -since")
	flags.Int64Var(&s.since, "since", 0, "read events from this `seq` on; the tree is read whole")
	flags.StringVar(&s.proof, "proof", "", "check the proof in this `file`")
	flags.StringVar(&s.event, "event", "", "with -proof: the event, as ?view=RAW answers it, in this `file`")
	flags.StringVar(&s.database, "database", getenv("DATABASE_URL"), "`address` of the database; a role that may only read is enough (DATABASE_URL)")
	flags.StringVar(&s.data, "data", "", "data `folder` of a local stack, such as .data: where the log and the keys are")
	flags.StringVar(&s.origin, "origin", cmp.Or(getenv("AUDIT_LOG_ORIGIN"), "manas360.local/audit"), "`name` of the log (AUDIT_LOG_ORIGIN)")
	flags.StringVar(&s.logKey, "key", getenv("AUDIT_PUBLIC_KEY_FILE"), "public key of the log, or a `file` that holds it (AUDIT_PUBLIC_KEY_FILE)")
	flags.StringVar(&s.witness, "witness-key", getenv("WITNESS_PUBLIC_KEY_FILE"), "public key of the witness, or a `file` that holds it (WITNESS_PUBLIC_KEY_FILE)")
	flags.IntVar(&s.workers, "workers", runtime.GOMAXPROCS(0), "spans read at once")
	flags.BoolVar(&s.quiet, "quiet", false, "no progress bar")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil || flags.NArg() > 0 || s.full && s.since > 0 || s.since < 0 || s.event != "" && s.proof == "":
		flags.Usage()
		return exitUsage
	}
	code, err := s.verify(ctx, out, progress)
	if err != nil {
		_, _ = fmt.Fprintf(progress, "auditverify: %v\n", err)
	}
	return code
}

func (s *settings) verify(ctx context.Context, out, progress io.Writer) (int, error) {
	if err := s.keys(); err != nil {
		return exitFailed, err
	}
	if s.proof != "" {
		return s.one(out)
	}
	if s.database == "" {
		return exitUsage, errors.New("where is the log? give -database, or -proof to check one proof without it")
	}
	if s.logKey == "" {
		_, _ = fmt.Fprintln(progress, "no key of the log: signatures are not checked")
	}
	b := &bar{out: progress, began: time.Now(), quiet: s.quiet}
	v, err := audit.Verify(ctx, audit.Check{
		DatabaseURL: s.database, Origin: s.origin, LogKey: s.logKey, WitnessKey: s.witness, Since: s.since, Workers: s.workers,
		Progress: b.show,
		Found: func(line string) {
			b.clear()
			_, _ = fmt.Fprintln(out, line)
		},
	})
	b.clear()
	if err != nil {
		return exitFailed, err
	}
	took := time.Since(b.began)
	_, _ = fmt.Fprintf(out, "%d of %d events read again in %.1f s (%.0f/s), %d findings\n", v.Read, v.Size, took.Seconds(), float64(v.Read)/took.Seconds(), v.Findings)
	if v.Findings > 0 {
		return exitBroken, nil
	}
	return exitOK, nil
}

// keys reads key files; a key may also be given itself.
func (s *settings) keys() error {
	if s.data != "" {
		s.logKey = cmp.Or(s.logKey, filepath.Join(s.data, "audit", "log.key.pub"))
		s.witness = cmp.Or(s.witness, filepath.Join(s.data, "witness", "witness.key.pub"))
		if err := s.local(); err != nil {
			return err
		}
	}
	for _, key := range []*string{&s.logKey, &s.witness} {
		if *key == "" || isKey(*key) {
			continue
		}
		vkey, err := notary.ReadPublic(*key)
		if err != nil {
			return err
		}
		*key = vkey
	}
	return nil
}

// local finds the database of a local stack.
func (s *settings) local() error {
	if s.database != "" || s.proof != "" {
		return nil
	}
	raw, err := os.ReadFile(filepath.Clean(filepath.Join(s.data, "ports.json")))
	if err != nil {
		return fmt.Errorf("is the local stack running? %w", err)
	}
	var ports struct {
		PostgresSocket string `json:"postgresSocket"`
	}
	if err := json.Unmarshal(raw, &ports); err != nil {
		return fmt.Errorf("read ports.json: %w", err)
	}
	if ports.PostgresSocket == "" {
		return errors.New("the local stack has a database of its own: give -database")
	}
	s.database = "postgres://postgres@/manas360?host=" + url.QueryEscape(ports.PostgresSocket)
	return nil
}

// isKey tells a key, name+hash+base64, from the name of a file.
func isKey(text string) bool {
	_, rest, _ := strings.Cut(text, "+")
	hash, _, ok := strings.Cut(rest, "+")
	return ok && len(hash) == 8
}

func (s *settings) one(out io.Writer) (int, error) {
	if s.logKey == "" {
		return exitUsage, errors.New("whose proof is it? give -key")
	}
	file, err := os.ReadFile(filepath.Clean(s.proof))
	if err != nil {
		return exitFailed, fmt.Errorf("read the proof: %w", err)
	}
	var canonical []byte
	if s.event != "" {
		raw, err := os.ReadFile(filepath.Clean(s.event))
		if err != nil {
			return exitFailed, fmt.Errorf("read the event: %w", err)
		}
		if canonical, err = audit.EventBytes(raw); err != nil {
			return exitFailed, err
		}
	}
	p, err := audit.CheckProof(file, canonical, s.origin, s.logKey, s.witness)
	if err != nil {
		_, _ = fmt.Fprintln(out, err)
		return exitBroken, nil
	}
	what := "the leaf"
	if p.Event {
		what = "the event"
	}
	by := "signed by the log"
	if p.Witnessed {
		by += " and the witness"
	}
	_, _ = fmt.Fprintf(out, "%s stands at %d of %d in %s, %s\n", what, p.LeafIndex+1, p.TreeSize, p.Origin, by)
	return exitOK, nil
}

// bar is a progress bar that rewrites its line.
type bar struct {
	out   io.Writer
	began time.Time
	shown time.Time
	quiet bool
}

const barWidth = 30

func (b *bar) show(done, total int64) {
	now := time.Now()
	if b.quiet || total == 0 || done < total && now.Sub(b.shown) < 200*time.Millisecond {
		return
	}
	b.shown = now
	full := int(done * barWidth / total)
	rate := float64(done) / now.Sub(b.began).Seconds()
	left := time.Duration(float64(total-done) / rate * float64(time.Second)).Round(time.Second)
	_, _ = fmt.Fprintf(b.out, "\r\033[K[%s%s] %3d %%  %d of %d  %.0f/s  %s left", strings.Repeat("#", full), strings.Repeat("·", barWidth-full), done*100/total, done, total, rate, left)
}

func (b *bar) clear() {
	if !b.quiet && !b.shown.IsZero() {
		_, _ = io.WriteString(b.out, "\r\033[K")
	}
}
