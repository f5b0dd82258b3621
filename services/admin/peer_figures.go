package admin

import (
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// figureTypes are what is counted, and who alone may tell of it.
var figureTypes = map[string]struct {
	source string
	read   func(ev *eventv1.Event) (figure, error)
}{
	"manas.admin.v1.AccountFigure":      {"auth", readAccount},
	"manas.admin.v1.ActiveFigure":       {"auth", readActive},
	"manas.admin.v1.PaymentFigure":      {"payment", readPayment},
	"manas.admin.v1.JournalFigure":      {"payment", readJournal},
	"manas.admin.v1.SubscriptionFigure": {"subscription", readSubscription},
}

func readAccount(ev *eventv1.Event) (figure, error) {
	m := &adminv1.AccountFigure{}
	if err := outbox.Payload(ev, m); err != nil {
		return figure{}, err
	}
	id, err := figureID(m.GetUserId())
	if err != nil || !m.GetCreatedAt().IsValid() {
		return figure{}, malformed(err)
	}
	return figure{source: "account", id: id, version: m.GetVersion(), upsert: upsertAccount, row: args{
		"id": id, "version": m.GetVersion(), "created_on": day(m.GetCreatedAt()), "deleted_on": dayOrNone(m.GetDeletedAt()),
	}}, nil
}

func readActive(ev *eventv1.Event) (figure, error) {
	m := &adminv1.ActiveFigure{}
	if err := outbox.Payload(ev, m); err != nil {
		return figure{}, err
	}
	id, err := figureID(m.GetUserId())
	if err != nil {
		return figure{}, malformed(err)
	}
	on, err := time.Parse(time.DateOnly, m.GetDay())
	if err != nil {
		return figure{}, malformed(err)
	}
	return figure{source: "active", id: id, day: on, upsert: insertActive, row: args{"id": id, "day": on}}, nil
}

// outcomes is what a payment's state comes to.
var outcomes = map[string]string{
	"CREATED": "pending", "PENDING": "pending",
	"SUCCEEDED": "succeeded", "PARTIALLY_REFUNDED": "succeeded", "REFUNDED": "succeeded",
	"FAILED": "failed", "EXPIRED": "failed", "CANCELLED": "failed",
}

func readPayment(ev *eventv1.Event) (figure, error) {
	m := &adminv1.PaymentFigure{}
	if err := outbox.Payload(ev, m); err != nil {
		return figure{}, err
	}
	id, err := figureID(m.GetPaymentId())
	outcome, known := outcomes[m.GetState()]
	if err != nil || !known || !m.GetCreatedAt().IsValid() {
		return figure{}, malformed(err)
	}
	return figure{source: "payment", id: id, version: m.GetVersion(), upsert: upsertPayment, row: args{
		"id": id, "version": m.GetVersion(), "outcome": outcome, "provider": m.GetProvider(), "method": m.GetMethod(),
		"currency": m.GetCurrency(), "amount_minor": m.GetAmountMinor(), "created_on": day(m.GetCreatedAt()),
	}}, nil
}

func readJournal(ev *eventv1.Event) (figure, error) {
	m := &adminv1.JournalFigure{}
	if err := outbox.Payload(ev, m); err != nil {
		return figure{}, err
	}
	id, err := figureID(m.GetJournalId())
	if err != nil || !m.GetOccurredAt().IsValid() {
		return figure{}, malformed(err)
	}
	return figure{source: "journal", id: id, upsert: insertJournal, row: args{
		"id": id, "day": day(m.GetOccurredAt()), "currency": m.GetCurrency(), "gross_minor": m.GetGrossMinor(),
		"refund_minor": m.GetRefundMinor(), "tax_minor": m.GetTaxMinor(), "due_minor": m.GetDueMinor(),
	}}, nil
}

func readSubscription(ev *eventv1.Event) (figure, error) {
	m := &adminv1.SubscriptionFigure{}
	if err := outbox.Payload(ev, m); err != nil {
		return figure{}, err
	}
	id, err := figureID(m.GetSubscriptionId())
	if err != nil {
		return figure{}, malformed(err)
	}
	user, err := figureID(m.GetUserId())
	if err != nil {
		return figure{}, malformed(err)
	}
	return figure{source: "subscription", id: id, version: m.GetVersion(), upsert: upsertSubscription, row: args{
		"id": id, "version": m.GetVersion(), "user_id": user, "plan_code": m.GetPlanCode(), "cycle": m.GetCycle(),
		"currency": m.GetCurrency(), "year_minor": m.GetYearMinor(),
		"live_from": dayOrNone(m.GetLiveFrom()), "live_until": dayOrNone(m.GetLiveUntil()),
		"paying_from": dayOrNone(m.GetPayingFrom()), "paying_until": dayOrNone(m.GetPayingUntil()),
		"trial_on": dayOrNone(m.GetTrialAt()), "trialing": m.GetState() == "TRIALING",
	}}, nil
}

func figureID(b []byte) (uuid.UUID, error) {
	id, err := uuid.FromBytes(b)
	if err != nil {
		return id, fail.New(fail.InvalidArgument, "the figure's id is malformed").Wrap(err)
	}
	return id, nil
}

func malformed(err error) error {
	return fail.New(fail.InvalidArgument, "the figure is malformed").Wrap(err)
}

// day is the day of UTC that holds t.
func day(t *timestamppb.Timestamp) time.Time { return dayOf(t.AsTime()) }

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

func dayOrNone(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	d := day(t)
	return &d
}
