package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// errBroken is a ledger that is not what was sealed.
var errBroken = errors.New("the ledger is not what was sealed")

// ledger writes the sealed journals for hledger, or goes through their chain.
func ledger(ctx context.Context, payment paymentv1.LedgerInternalServiceClient, words []string, out io.Writer) error {
	switch {
	case words[0] == "export" && len(words) == 1:
		for token := ""; ; {
			r, err := payment.ExportLedger(ctx, &paymentv1.ExportLedgerRequest{PageToken: token})
			if err != nil {
				return err
			}
			if _, err := out.Write(r.GetText()); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			if token = r.GetNextPageToken(); token == "" {
				return nil
			}
		}
	case words[0] == "verify" && len(words) == 1:
		r, err := payment.VerifyLedger(ctx, &paymentv1.VerifyLedgerRequest{})
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "%d journals, head %s\n", r.GetJournals(), r.GetHead())
		for _, p := range r.GetProblems() {
			_, _ = fmt.Fprintln(out, p)
		}
		if len(r.GetProblems()) > 0 {
			return errBroken
		}
		return nil
	default:
		return errUsage
	}
}
