package user

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// Register puts the service on g. peer names the direct caller of a request.
func (s *Service) Register(g *grpc.Server, peer func(context.Context) string) {
	userv1.RegisterUserServiceServer(g, &publicServer{Service: s})
	userv1.RegisterPreferencesServiceServer(g, &preferencesServer{Service: s})
	userv1.RegisterConsentServiceServer(g, &consentServer{Service: s})
	userv1.RegisterOrganizationServiceServer(g, &orgServer{Service: s})
	userv1.RegisterMembershipInternalServiceServer(g, &membershipServer{Service: s})
	userv1.RegisterTherapistServiceServer(g, &therapistServer{Service: s})
	userv1.RegisterAdminTherapistServiceServer(g, &adminTherapistServer{Service: s})
	userv1.RegisterDataRequestServiceServer(g, &dataRequestServer{Service: s})
	userv1.RegisterUserInternalServiceServer(g, &internalServer{Service: s})
	s.outbox.RegisterDeadLetters(g, s.db)
	outbox.Register(g, outbox.NewInbox(s.db, schema, s.now, peer, s.handlers()))
	adminv1.RegisterStatusInternalServiceServer(g, outbox.NewStatus(s.db, schema, s.now))
}

type publicServer struct {
	userv1.UnimplementedUserServiceServer
	*Service
}

type internalServer struct {
	userv1.UnimplementedUserInternalServiceServer
	*Service
}

func (s *publicServer) GetMe(ctx context.Context, _ *userv1.GetMeRequest) (*userv1.GetMeResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.read(ctx, caller.UserID)
	if err != nil {
		return nil, err
	}
	return &userv1.GetMeResponse{User: pack(p)}, nil
}

func (s *publicServer) UpdateMe(ctx context.Context, r *userv1.UpdateMeRequest) (*userv1.UpdateMeResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	in := r.GetProfile()
	p, err := s.update(ctx, caller, r.GetUpdateMask().GetPaths(), profile{
		FirstName: in.GetFirstName(), LastName: in.GetLastName(), DisplayName: in.GetDisplayName(), Bio: in.GetBio(),
		Timezone: in.GetTimezone(), Locale: in.GetLocale(), AvatarURL: in.GetAvatarUrl(),
	}, ifMatch(ctx))
	if err != nil {
		return nil, err
	}
	return &userv1.UpdateMeResponse{User: pack(p)}, nil
}

func (s *publicServer) GetUser(ctx context.Context, r *userv1.GetUserRequest) (*userv1.GetUserResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	userID, err := id.Parse("usr", r.GetId())
	if err != nil {
		return nil, fail.New(fail.NotFound, "there is no such user")
	}
	p, err := s.visible(ctx, caller, userID)
	if err != nil {
		return nil, err
	}
	return &userv1.GetUserResponse{User: pack(p)}, nil
}

func (s *internalServer) BatchGetProfiles(ctx context.Context, r *userv1.BatchGetProfilesRequest) (*userv1.BatchGetProfilesResponse, error) {
	ids := make([]uuid.UUID, 0, len(r.GetUserIds()))
	for _, b := range r.GetUserIds() {
		u, err := uuid.FromBytes(b)
		if err != nil {
			return nil, fail.New(fail.InvalidArgument, "a user id is malformed").Field("userIds", "must be 16 bytes each")
		}
		ids = append(ids, u)
	}
	list, err := s.profiles(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := &userv1.BatchGetProfilesResponse{}
	for _, p := range list {
		out.Users = append(out.Users, pack(p))
	}
	return out, nil
}

// signedIn is the person behind the request; the rule has seen to it, so its
// absence is a fault of ours, answered as a missing token.
func signedIn(ctx context.Context) (*token.Caller, error) {
	caller, ok := token.FromContext(ctx)
	if !ok || caller.UserID == uuid.Nil {
		return nil, fail.New(fail.Unauthenticated, "sign in first")
	}
	return caller, nil
}

// ifMatch is the etag the client saw, or empty.
func ifMatch(ctx context.Context) string {
	if v := metadata.ValueFromIncomingContext(ctx, "if-match"); len(v) > 0 {
		return v[0]
	}
	return ""
}

func pack(p profile) *userv1.User {
	return &userv1.User{
		Id: id.Format("usr", p.UserID), Email: shown(p.Email), Phone: shown(p.Phone),
		FirstName: p.FirstName, LastName: p.LastName, DisplayName: p.name(), Bio: p.Bio,
		Timezone: p.Timezone, Locale: p.Locale, AvatarUrl: p.AvatarURL,
		State: userv1.User_State(userv1.User_State_value[p.State]), Roles: p.Roles,
		CreatedAt: timestamppb.New(p.CreatedAt), UpdatedAt: timestamppb.New(p.UpdatedAt), Etag: p.etag(),
	}
}

// shown is a value that may be missing, empty then: the contract fixes which
// fields a client finds.
func shown(s *string) *string {
	if s == nil {
		return new(string)
	}
	return s
}
