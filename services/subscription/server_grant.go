package subscription

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

type entitlementServer struct {
	subscriptionv1.UnimplementedEntitlementInternalServiceServer
	*Service
}

func (s *entitlementServer) GrantOverride(ctx context.Context, r *subscriptionv1.GrantOverrideRequest) (*subscriptionv1.GrantOverrideResponse, error) {
	if _, err := signedIn(ctx); err != nil {
		return nil, err
	}
	userID, err := personOf(r.GetUserId())
	if err != nil {
		return nil, err
	}
	o := override{
		UserID: userID, Source: strings.ToLower(r.GetSource().String()), Feature: r.GetFeature(), Priority: r.GetPriority(), Reason: r.GetReason(),
	}
	if t := r.GetValidFrom(); t != nil {
		o.ValidFrom = t.AsTime()
	}
	if t := r.GetValidUntil(); t != nil {
		until := t.AsTime()
		o.ValidUntil = &until
	}
	if o, err = s.grantOverride(ctx, o, r.Limit); err != nil {
		return nil, err
	}
	return &subscriptionv1.GrantOverrideResponse{Grant: packGrant(o)}, nil
}

func (s *entitlementServer) RevokeOverride(ctx context.Context, r *subscriptionv1.RevokeOverrideRequest) (*subscriptionv1.RevokeOverrideResponse, error) {
	if _, err := signedIn(ctx); err != nil {
		return nil, err
	}
	grantID, err := id.Parse("egr", r.GetId())
	if err != nil {
		return nil, fail.New(fail.NotFound, "there is no such grant")
	}
	o, err := s.revokeOverride(ctx, grantID, r.GetReason())
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.RevokeOverrideResponse{Grant: packGrant(o)}, nil
}

func (s *entitlementServer) ListOverrides(ctx context.Context, r *subscriptionv1.ListOverridesRequest) (*subscriptionv1.ListOverridesResponse, error) {
	userID, err := personOf(r.GetUserId())
	if err != nil {
		return nil, err
	}
	query := "overrides " + userID.String()
	before, err := s.before(query, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := page.Size(r.GetPageSize())
	list, err := s.overrides(ctx, userID, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.ListOverridesResponse{}
	if out.TotalSize, err = s.countOverrides(ctx, userID); err != nil {
		return nil, err
	}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, list[size-1].ID)
	}
	for _, o := range list {
		out.Grants = append(out.Grants, packGrant(o))
	}
	return out, nil
}

func packGrant(o override) *subscriptionv1.Grant {
	m := &subscriptionv1.Grant{
		Id: id.Format("egr", o.ID), UserId: idBytes(o.UserID), Feature: o.Feature, Priority: o.Priority,
		Source:    subscriptionv1.Grant_Source(subscriptionv1.Grant_Source_value[strings.ToUpper(o.Source)]),
		ValidFrom: timestamppb.New(o.ValidFrom), ValidUntil: stamp(o.ValidUntil), GrantedBy: o.GrantedBy, Reason: o.Reason,
		CreatedAt: timestamppb.New(o.CreatedAt), RevokedAt: stamp(o.RevokedAt),
	}
	if o.counted() {
		most := limit{LimitValue: o.LimitValue}.most()
		m.Limit = &most
	}
	return m
}

func idBytes(u uuid.UUID) []byte { return u[:] }
