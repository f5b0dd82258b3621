package auth

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const (
	authzChannel   = "authz" // after the key prefix; the gateways listen
	publishTimeout = 250 * time.Millisecond
)

// inboxClient is the delivery end of another service.
func inboxClient(conn grpc.ClientConnInterface) eventv1.EventInboxServiceClient {
	return outbox.Client(conn)
}

func accountActivated(a account, terms string, now time.Time) outbox.Event {
	return outbox.Event{
		Key: id.Format("usr", a.ID), Destinations: []string{"user", "subscription"}, OccurredAt: now,
		Payload: &authv1.AccountActivated{Account: packAccount(a), AcceptedTerms: terms},
	}
}

func accountChanged(a account, now time.Time) outbox.Event {
	return outbox.Event{
		Key: id.Format("usr", a.ID), Destinations: []string{"user"}, OccurredAt: now,
		Payload: &authv1.AccountChanged{Account: packAccount(a), Version: a.Version},
	}
}

func packAccount(a account) *authv1.Account {
	out := &authv1.Account{
		Id: a.ID[:], Email: &a.Email, Phone: a.Phone, EmailVerified: a.EmailVerifiedAt != nil,
		State: authv1.Account_State(authv1.Account_State_value[a.State]), Roles: a.Roles, MfaEnabled: a.HasFactor,
		CreatedAt: timestamppb.New(a.CreatedAt), FirstName: a.FirstName, LastName: a.LastName, Locale: a.Locale,
	}
	if a.LastLoginAt != nil {
		out.LastLoginAt = timestamppb.New(*a.LastLoginAt)
	}
	return out
}

func packAuthz(ev authzEvent) *authv1.AuthzEvent {
	return &authv1.AuthzEvent{
		Seq: ev.Seq, Kind: authv1.AuthzEvent_Kind(authv1.AuthzEvent_Kind_value[ev.Kind]), Key: ev.Key[:],
		MinEpoch: ev.MinEpoch, ExpiresAt: timestamppb.New(ev.ExpiresAt),
	}
}

// publish brings committed authz events to the gateways now. Its failure is no
// error: they poll the table twice a second.
func (s *Service) publish(ctx context.Context, events ...authzEvent) {
	if len(events) == 0 {
		return
	}
	// The change stands, even if its client has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	pipe := s.redis.Pipeline()
	for _, ev := range events {
		b, err := proto.Marshal(packAuthz(ev))
		if err != nil {
			zerolog.Ctx(ctx).Error().Err(err).Msg("authz event not encoded")
			return
		}
		pipe.Publish(ctx, s.c.Redis.Prefix+authzChannel, b)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("authz events not published, gateways will poll them")
	}
}

// pendingPublish carries authz events from an inbox transaction to its After.
type pendingPublish struct{ byEvent sync.Map } // event id (string) -> []authzEvent

func (p *pendingPublish) put(ev *eventv1.Event, news []authzEvent) {
	p.byEvent.Store(string(ev.GetId()), news)
}

func (p *pendingPublish) take(ev *eventv1.Event) []authzEvent {
	v, ok := p.byEvent.LoadAndDelete(string(ev.GetId()))
	if !ok {
		return nil
	}
	news, _ := v.([]authzEvent) // nothing else is ever put
	return news
}

// entitlement is subscription's word about an account.
type entitlement struct {
	AccountID uuid.UUID
	Epoch     int64
	Plan      string
	Features  []string
	EndsAt    *time.Time // nil: never
	APICalls  *int64     // nil: not told
}
