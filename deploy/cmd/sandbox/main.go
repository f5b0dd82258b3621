// Command sandbox is the bank that a development stack pays with: see package sandbox.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/deploy/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	what := run
	if len(os.Args) == 2 && os.Args[1] == "-health" { // for images without a shell
		what = probe
	}
	if err := what(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}

// settings are read from the environment; a word after = is what it is when unset.
func settings() (map[string]string, error) {
	got := map[string]string{}
	var missing []string
	for _, name := range []string{
		"SANDBOX_PORT=5099", "SANDBOX_BIND_ADDR=127.0.0.1", "SANDBOX_PUBLIC_URL=", "SANDBOX_DATA_DIR", "CALLBACK_BASE_URL=http://127.0.0.1:5001",
		"PHONEPE_CLIENT_ID", "PHONEPE_CLIENT_SECRET", "PHONEPE_WEBHOOK_USERNAME", "PHONEPE_WEBHOOK_PASSWORD",
		// A dialect whose keys are not set is not spoken.
		"PHONEPE_V1_MERCHANT_ID=", "PHONEPE_V1_SALT_KEY=", "PHONEPE_V1_SALT_INDEX=1",
		"RAZORPAY_KEY_ID=", "RAZORPAY_KEY_SECRET=", "RAZORPAY_WEBHOOK_SECRET=", "STRIPE_API_KEY=", "STRIPE_WEBHOOK_SECRET=",
	} {
		key, fallback, optional := strings.Cut(name, "=")
		if got[key] = os.Getenv(key); got[key] == "" {
			got[key] = fallback
			if !optional {
				missing = append(missing, key)
			}
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("set %s", strings.Join(missing, ", "))
	}
	if got["SANDBOX_PUBLIC_URL"] == "" {
		got["SANDBOX_PUBLIC_URL"] = "http://127.0.0.1:" + got["SANDBOX_PORT"]
	}
	return got, nil
}

// probe asks the sandbox running on this host whether it lives.
func probe(ctx context.Context) error {
	env, err := settings()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+env["SANDBOX_PORT"]+"/livez", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask for a sign of life: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask for a sign of life: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		err = fmt.Errorf("the sandbox answers %d", res.StatusCode)
	}
	return errors.Join(err, res.Body.Close())
}

func run(ctx context.Context) error {
	env, err := settings()
	if err != nil {
		return err
	}
	saltIndex, err := strconv.Atoi(env["PHONEPE_V1_SALT_INDEX"])
	if err != nil {
		return fmt.Errorf("PHONEPE_V1_SALT_INDEX: %w", err)
	}
	log := zerolog.New(os.Stdout).With().Timestamp().Str("service", "sandbox").Logger()
	s, err := sandbox.New(ctx, sandbox.Config{
		PublicURL: env["SANDBOX_PUBLIC_URL"], CallbackURL: env["CALLBACK_BASE_URL"], DataDir: env["SANDBOX_DATA_DIR"],
		PhonePe: sandbox.PhonePe{
			ClientID: env["PHONEPE_CLIENT_ID"], ClientSecret: env["PHONEPE_CLIENT_SECRET"],
			WebhookUsername: env["PHONEPE_WEBHOOK_USERNAME"], WebhookPassword: env["PHONEPE_WEBHOOK_PASSWORD"],
		},
		PhonePeV1: sandbox.PhonePeV1{MerchantID: env["PHONEPE_V1_MERCHANT_ID"], SaltKey: env["PHONEPE_V1_SALT_KEY"], SaltIndex: saltIndex},
		Razorpay:  sandbox.Razorpay{KeyID: env["RAZORPAY_KEY_ID"], KeySecret: env["RAZORPAY_KEY_SECRET"], WebhookSecret: env["RAZORPAY_WEBHOOK_SECRET"]},
		Stripe:    sandbox.Stripe{APIKey: env["STRIPE_API_KEY"], WebhookSecret: env["STRIPE_WEBHOOK_SECRET"]},
		Now:       time.Now, Rand: rand.Reader, Log: log,
	})
	if err != nil {
		return err
	}
	srv := &http.Server{
		Addr: net.JoinHostPort(env["SANDBOX_BIND_ADDR"], env["SANDBOX_PORT"]), Handler: s.Handler(),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.ListenAndServe() }()
	log.Info().Str("addr", srv.Addr).Msg("sandbox is open")
	select {
	case err = <-failed:
		return errors.Join(err, s.Close())
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(srv.Shutdown(grace), s.Close())
}
