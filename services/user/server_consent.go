package user

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

type consentServer struct {
	userv1.UnimplementedConsentServiceServer
	*Service
}

func (s *consentServer) ListConsents(ctx context.Context, r *userv1.ListConsentsRequest) (*userv1.ListConsentsResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "consents\x00" + caller.UserID.String()
	before, err := s.from(query, r.GetPageToken(), newest)
	if err != nil {
		return nil, err
	}
	rows, n, err := s.consents(ctx, caller.UserID, before, pageSize(r.GetPageSize())+1)
	if err != nil {
		return nil, err
	}
	current, err := s.currentConsents(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	out := &userv1.ListConsentsResponse{TotalSize: total(n)}
	rows, out.NextPageToken = cut(s.Service, query, rows, r.GetPageSize(), consent.at)
	for _, c := range rows {
		out.Consents = append(out.Consents, packConsent(c))
	}
	for _, c := range current {
		out.Current = append(out.Current, packConsent(c))
	}
	return out, nil
}

func (s *consentServer) CreateConsent(ctx context.Context, r *userv1.CreateConsentRequest) (*userv1.CreateConsentResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.consentTo(ctx, caller, consent{
		Document: r.GetDocument().String(), Version: r.GetVersion(), Granted: r.GetGranted(), Locale: r.GetLocale(),
	})
	if err != nil {
		return nil, err
	}
	return &userv1.CreateConsentResponse{Consent: packConsent(c)}, nil
}

func packConsent(c consent) *userv1.Consent {
	return &userv1.Consent{
		Id: id.Format("cns", c.ID), Document: userv1.Consent_Document(userv1.Consent_Document_value[c.Document]), Version: c.Version,
		Granted: c.Granted, Locale: c.Locale, OccurredAt: timestamppb.New(c.OccurredAt), IpPrefix: c.IPPrefix,
		Source: userv1.Consent_Source(userv1.Consent_Source_value[c.Source]),
	}
}
