package subscription

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// customer is who stands on an invoice, as it was when the order was placed.
type customer struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
	Country string `json:"country,omitempty"`
	State   string `json:"state,omitempty"` // GST state code
	GSTIN   string `json:"gstin,omitempty"`
}

// billingProfile is a customer that may be changed.
type billingProfile struct {
	Name, Address, Country, State, GSTIN string
	Version                              int64
}

func (p billingProfile) etag() string { return strconv.Quote(strconv.FormatInt(p.Version, 10)) }

// place is where a supply to the customer takes place: their state, the
// supplier's when they have not told theirs, or abroad.
func (c customer) place(supplier string) string {
	switch {
	case c.Country != "" && c.Country != home:
		return abroad
	case c.State == "":
		return supplier
	default:
		return c.State
	}
}

const home = "IN"

// gstStates are the codes of the states and union territories, and 97 for other
// territory.
const gstStates = "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 26 27 29 30 31 32 33 34 35 36 37 38 97"

// valid refuses what no invoice may carry.
func (p billingProfile) valid() error {
	bad := fail.New(fail.InvalidArgument, "the billing profile is invalid")
	switch {
	case p.Country != home && (p.State != "" || p.GSTIN != ""):
		return bad.Field("state", "is for India only")
	case p.State != "" && !strings.Contains(gstStates, p.State):
		return bad.Field("state", "is not a GST state")
	case p.GSTIN != "" && !checkGSTIN(p.GSTIN):
		return bad.Field("gstin", "is not a GSTIN")
	case p.GSTIN != "" && p.GSTIN[:2] != p.State:
		return bad.Field("gstin", "is of another state")
	}
	return nil
}

// checkGSTIN tests form and check digit: base 36, weights 1 and 2 by turns, the
// digits of each product added up.
func checkGSTIN(number string) bool {
	if !gstinForm.MatchString(number) {
		return false
	}
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	sum := 0
	for i, r := range number[:14] {
		product := strings.IndexRune(digits, r) * (i%2 + 1)
		sum += product/36 + product%36
	}
	return digits[(36-sum%36)%36] == number[14]
}

// customer reads who a user's invoices are for; nobody who told has no name.
func (s *Service) customer(ctx context.Context, q querier, userID uuid.UUID) (customer, error) {
	p, err := s.billingProfile(ctx, q, userID)
	if errors.Is(err, errNone) {
		return customer{}, nil
	}
	return customer{Name: p.Name, Address: p.Address, Country: p.Country, State: p.State, GSTIN: p.GSTIN}, err
}

// ownBilling reads a user's billing profile. Fails with NOT_FOUND.
func (s *Service) ownBilling(ctx context.Context, userID uuid.UUID) (billingProfile, error) {
	p, err := s.billingProfile(ctx, s.db.Pool, userID)
	if errors.Is(err, errNone) {
		return p, fail.New(fail.NotFound, "there is no billing profile yet")
	}
	return p, err
}

// putBilling replaces a user's billing profile; etag, unless empty, must be its
// version.
func (s *Service) putBilling(ctx context.Context, userID uuid.UUID, p billingProfile, etag string) (billingProfile, error) {
	if p.Country == "" {
		p.Country = home
	}
	if err := p.valid(); err != nil {
		return p, err
	}
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockUser(ctx, tx, userID); err != nil {
			return err
		}
		old, err := s.billingProfile(ctx, tx, userID)
		if err != nil && !errors.Is(err, errNone) {
			return err
		}
		if etag != "" && etag != old.etag() {
			return fail.New(fail.PreconditionFailed, "the billing profile has changed since you read it")
		}
		now := s.now()
		if p.Version, err = s.writeBilling(ctx, tx, userID, p, now); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditBilling(ctx, userID, old, p, now))
	})
	if err != nil {
		return p, err
	}
	s.outbox.Wake()
	return p, nil
}
