package user

import (
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/trail"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

type therapistServer struct {
	userv1.UnimplementedTherapistServiceServer
	*Service
}

type adminTherapistServer struct {
	userv1.UnimplementedAdminTherapistServiceServer
	*Service
}

func (s *therapistServer) GetTherapistProfile(ctx context.Context, _ *userv1.GetTherapistProfileRequest) (*userv1.GetTherapistProfileResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	t, err := s.therapist(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	return &userv1.GetTherapistProfileResponse{Profile: packTherapist(t)}, nil
}

func (s *therapistServer) PutTherapistProfile(ctx context.Context, r *userv1.PutTherapistProfileRequest) (*userv1.PutTherapistProfileResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	in := r.GetProfile()
	t, err := s.putTherapist(ctx, caller, therapist{
		Type: in.GetType().String(), Specializations: in.GetSpecializations(), ExperienceYears: in.GetExperienceYears(),
		LicenseNumber: in.GetLicenseNumber(), Languages: in.GetLanguages(), About: in.GetAbout(),
	}, ifMatch(ctx))
	if err != nil {
		return nil, err
	}
	return &userv1.PutTherapistProfileResponse{Profile: packTherapist(t)}, nil
}

func (s *therapistServer) SubmitTherapistProfile(ctx context.Context, _ *userv1.SubmitTherapistProfileRequest) (*userv1.SubmitTherapistProfileResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	t, err := s.submitTherapist(ctx, caller)
	if err != nil {
		return nil, err
	}
	return &userv1.SubmitTherapistProfileResponse{Profile: packTherapist(t)}, nil
}

func (s *therapistServer) ListTherapists(ctx context.Context, r *userv1.ListTherapistsRequest) (*userv1.ListTherapistsResponse, error) {
	f := therapistFilter{Language: r.GetLanguage(), Specialization: strings.ToLower(r.GetSpecialization())}
	if r.GetType() != userv1.TherapistProfile_TYPE_UNSPECIFIED {
		f.Type = r.GetType().String()
	}
	query := strings.Join([]string{"therapists", f.Language, f.Specialization, f.Type}, "\x00")
	before, err := s.from(query, r.GetPageToken(), newest)
	if err != nil {
		return nil, err
	}
	rows, n, err := s.verified(ctx, f, before, pageSize(r.GetPageSize())+1)
	if err != nil {
		return nil, err
	}
	out := &userv1.ListTherapistsResponse{TotalSize: total(n)}
	rows, out.NextPageToken = cut(s.Service, query, rows, r.GetPageSize(), therapist.verifiedSince)
	for _, t := range rows {
		out.Therapists = append(out.Therapists, packPublic(t))
	}
	return out, nil
}

func (s *therapistServer) GetTherapist(ctx context.Context, r *userv1.GetTherapistRequest) (*userv1.GetTherapistResponse, error) {
	userID, err := id.Parse("usr", r.GetId())
	if err != nil {
		return nil, noTherapist()
	}
	t, err := s.verifiedOne(ctx, userID)
	if err != nil {
		return nil, err
	}
	return &userv1.GetTherapistResponse{Therapist: packPublic(t)}, nil
}

func (s *adminTherapistServer) ListTherapistProfiles(ctx context.Context, r *userv1.ListTherapistProfilesRequest) (*userv1.ListTherapistProfilesResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	state := ""
	if r.GetState() != userv1.TherapistProfile_STATE_UNSPECIFIED {
		state = r.GetState().String()
	}
	query := "therapist profiles\x00" + state
	before, err := s.from(query, r.GetPageToken(), newest)
	if err != nil {
		return nil, err
	}
	rows, n, err := s.therapists(ctx, state, before, pageSize(r.GetPageSize())+1)
	if err != nil {
		return nil, err
	}
	out := &userv1.ListTherapistProfilesResponse{TotalSize: total(n)}
	rows, out.NextPageToken = cut(s.Service, query, rows, r.GetPageSize(), therapist.changedAt)
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		return s.record(ctx, tx, caller, act{
			Action: trail.TherapistListed, Admin: true, Changes: []change{{Path: "count", After: strconv.Itoa(len(rows))}},
		})
	})
	if err != nil {
		return nil, err
	}
	s.outbox.Wake()
	for _, t := range rows {
		out.Therapists = append(out.Therapists, packTherapist(t))
	}
	return out, nil
}

func (s *adminTherapistServer) VerifyTherapist(ctx context.Context, r *userv1.VerifyTherapistRequest) (*userv1.VerifyTherapistResponse, error) {
	p, err := s.decide(ctx, r.GetId(), r.GetReason(), func(string) string { return therapistVerified })
	if err != nil {
		return nil, err
	}
	return &userv1.VerifyTherapistResponse{Profile: p}, nil
}

func (s *adminTherapistServer) RejectTherapist(ctx context.Context, r *userv1.RejectTherapistRequest) (*userv1.RejectTherapistResponse, error) {
	p, err := s.decide(ctx, r.GetId(), r.GetReason(), func(string) string { return therapistRejected })
	if err != nil {
		return nil, err
	}
	return &userv1.RejectTherapistResponse{Profile: p}, nil
}

func (s *adminTherapistServer) SuspendTherapist(ctx context.Context, r *userv1.SuspendTherapistRequest) (*userv1.SuspendTherapistResponse, error) {
	p, err := s.decide(ctx, r.GetId(), r.GetReason(), func(string) string { return therapistSuspended })
	if err != nil {
		return nil, err
	}
	return &userv1.SuspendTherapistResponse{Profile: p}, nil
}

func (s *adminTherapistServer) DecideTherapist(ctx context.Context, r *userv1.DecideTherapistRequest) (*userv1.DecideTherapistResponse, error) {
	p, err := s.decide(ctx, r.GetId(), r.GetReason(), func(state string) string {
		switch {
		case r.GetVerified():
			return therapistVerified
		case state == therapistVerified, state == therapistSuspended:
			return therapistSuspended
		default:
			return therapistRejected
		}
	})
	if err != nil {
		return nil, err
	}
	return &userv1.DecideTherapistResponse{Profile: p}, nil
}

func (s *adminTherapistServer) decide(ctx context.Context, user, reason string, choose func(state string) string) (*userv1.TherapistProfile, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	userID, err := id.Parse("usr", user)
	if err != nil {
		return nil, noTherapist()
	}
	t, err := s.decideTherapist(ctx, caller, userID, choose, reason, ifMatch(ctx))
	if err != nil {
		return nil, err
	}
	return packTherapist(t), nil
}

func packTherapist(t therapist) *userv1.TherapistProfile {
	return &userv1.TherapistProfile{
		UserId: id.Format("usr", t.UserID), Type: packType(t.Type), Specializations: t.Specializations, ExperienceYears: t.ExperienceYears,
		LicenseNumber: t.LicenseNumber, Languages: t.Languages, About: t.About,
		State: userv1.TherapistProfile_State(userv1.TherapistProfile_State_value[t.State]), Reason: t.Reason,
		SubmittedAt: stamp(t.SubmittedAt), DecidedAt: stamp(t.DecidedAt), CreatedAt: timestamppb.New(t.CreatedAt),
		UpdatedAt: timestamppb.New(t.UpdatedAt), Etag: etagOf(t.Version), DisplayName: t.DisplayName,
	}
}

func packPublic(t therapist) *userv1.Therapist {
	return &userv1.Therapist{
		UserId: id.Format("usr", t.UserID), DisplayName: t.DisplayName, AvatarUrl: t.AvatarURL, Type: packType(t.Type),
		Specializations: t.Specializations, ExperienceYears: t.ExperienceYears, Languages: t.Languages, About: t.About,
		VerifiedAt: stamp(t.VerifiedAt),
	}
}

func packType(kind string) userv1.TherapistProfile_Type {
	return userv1.TherapistProfile_Type(userv1.TherapistProfile_Type_value[kind])
}

// stamp leaves out a time that is not set.
func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
