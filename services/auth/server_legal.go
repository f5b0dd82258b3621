package auth

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

type legalServer struct {
	authv1.UnimplementedLegalServiceServer
	*Service
}

func (s *legalServer) GetRequiredLegal(ctx context.Context, _ *authv1.GetRequiredLegalRequest) (*authv1.GetRequiredLegalResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	owed, err := s.requiredLegal(ctx, c.UserID)
	if err != nil {
		return nil, err
	}
	return &authv1.GetRequiredLegalResponse{Terms: packDocument(owed.Terms), Privacy: packDocument(owed.Privacy)}, nil
}

func (s *legalServer) AcceptLegal(ctx context.Context, r *authv1.AcceptLegalRequest) (*authv1.AcceptLegalResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.acceptLegal(ctx, legal{Terms: r.GetTerms(), Privacy: r.GetPrivacy()}, c); err != nil {
		return nil, err
	}
	return &authv1.AcceptLegalResponse{}, nil
}

func packDocument(version string) *authv1.GetLegalResponse_LegalDocument {
	if version == "" {
		return nil
	}
	return &authv1.GetLegalResponse_LegalDocument{Version: version}
}

// legalAccepted tells user, which keeps the consents.
func legalAccepted(user uuid.UUID, l legal, now time.Time) outbox.Event {
	return outbox.Event{
		Key: id.Format("usr", user), Destinations: []string{"user"}, OccurredAt: now,
		Payload: &authv1.LegalAccepted{UserId: user[:], Terms: l.Terms, Privacy: l.Privacy, AcceptedAt: timestamppb.New(now)},
	}
}
