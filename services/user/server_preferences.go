package user

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

type preferencesServer struct {
	userv1.UnimplementedPreferencesServiceServer
	*Service
}

func (s *preferencesServer) GetPreferences(ctx context.Context, _ *userv1.GetPreferencesRequest) (*userv1.GetPreferencesResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.preferences(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	return &userv1.GetPreferencesResponse{Preferences: packPreferences(p)}, nil
}

func (s *preferencesServer) UpdatePreferences(ctx context.Context, r *userv1.UpdatePreferencesRequest) (*userv1.UpdatePreferencesResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	in := r.GetPreferences()
	p, err := s.updatePreferences(ctx, caller, r.GetUpdateMask().GetPaths(), preferences{
		SecurityChannels: names(in.GetSecurityChannels()), BillingChannels: names(in.GetBillingChannels()),
		ReminderChannels: names(in.GetReminderChannels()), ProductChannels: names(in.GetProductChannels()),
		MarketingChannels: names(in.GetMarketingChannels()), QuietEnabled: in.GetQuietHours().GetEnabled(),
		QuietStart: in.GetQuietHours().GetStart(), QuietEnd: in.GetQuietHours().GetEnd(),
		ContactLanguage: in.GetContactLanguage(), ReducedMotion: in.GetReducedMotion(), HighContrast: in.GetHighContrast(),
	}, ifMatch(ctx))
	if err != nil {
		return nil, err
	}
	return &userv1.UpdatePreferencesResponse{Preferences: packPreferences(p)}, nil
}

func names(list []userv1.Preferences_Channel) []string {
	out := make([]string, 0, len(list))
	for _, c := range list {
		out = append(out, c.String())
	}
	return out
}

func channels(list []string) []userv1.Preferences_Channel {
	out := make([]userv1.Preferences_Channel, 0, len(list))
	for _, c := range list {
		out = append(out, userv1.Preferences_Channel(userv1.Preferences_Channel_value[c]))
	}
	return out
}

func packPreferences(p preferences) *userv1.Preferences {
	out := &userv1.Preferences{
		SecurityChannels: channels(p.SecurityChannels), BillingChannels: channels(p.BillingChannels),
		ReminderChannels: channels(p.ReminderChannels), ProductChannels: channels(p.ProductChannels),
		MarketingChannels: channels(p.MarketingChannels),
		QuietHours:        &userv1.QuietHours{Enabled: p.QuietEnabled, Start: p.QuietStart, End: p.QuietEnd},
		ContactLanguage:   p.ContactLanguage, ReducedMotion: p.ReducedMotion, HighContrast: p.HighContrast, Etag: etagOf(p.Version),
	}
	if p.Version > 0 {
		out.UpdatedAt = timestamppb.New(p.UpdatedAt)
	}
	return out
}
