package auth

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/page"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// Register puts the service on g. peer names the direct caller of a request.
func (s *Service) Register(g *grpc.Server, peer func(context.Context) string) {
	authv1.RegisterAuthServiceServer(g, &publicServer{Service: s})
	authv1.RegisterCredentialServiceServer(g, &credentialServer{Service: s})
	authv1.RegisterPasskeyServiceServer(g, &passkeyServer{Service: s})
	authv1.RegisterApiKeyServiceServer(g, &apiKeyServer{Service: s})
	authv1.RegisterOidcServiceServer(g, &oidcServer{Service: s})
	authv1.RegisterLegalServiceServer(g, &legalServer{Service: s})
	userv1.RegisterPersonalDataInternalServiceServer(g, &personalServer{Service: s})
	authv1.RegisterAuthInternalServiceServer(g, &internalServer{Service: s})
	authv1.RegisterRoleInternalServiceServer(g, &roleServer{Service: s})
	adminv1.RegisterStatusInternalServiceServer(g, outbox.NewStatus(s.db, schema, s.now))
	adminv1.RegisterFigureInternalServiceServer(g, &figureServer{Service: s})
	authv1.RegisterKeyInternalServiceServer(g, &keyServer{Service: s, peer: peer})
	s.outbox.RegisterDeadLetters(g, s.db)
	outbox.Register(g, outbox.NewInbox(s.db, schema, s.now, peer, s.handlers()))
}

type publicServer struct {
	authv1.UnimplementedAuthServiceServer
	*Service
}

// someone is the caller, signed in or not.
func someone(ctx context.Context) *token.Caller {
	if c, ok := token.FromContext(ctx); ok {
		return c
	}
	return &token.Caller{}
}

// signedIn is the person behind the request; the rule has seen to it, so its
// absence is a fault of ours, answered as a missing token.
func signedIn(ctx context.Context) (*token.Caller, error) {
	c := someone(ctx)
	if !c.SignedIn() {
		return nil, fail.New(fail.Unauthenticated, "sign in first")
	}
	return c, nil
}

func (s *publicServer) GetLegal(context.Context, *authv1.GetLegalRequest) (*authv1.GetLegalResponse, error) {
	return &authv1.GetLegalResponse{
		Terms:   &authv1.GetLegalResponse_LegalDocument{Version: s.c.TermsVersion},
		Privacy: &authv1.GetLegalResponse_LegalDocument{Version: s.c.PrivacyVersion},
	}, nil
}

func (s *publicServer) Register(ctx context.Context, r *authv1.RegisterRequest) (*authv1.RegisterResponse, error) {
	p := person{
		Email: r.GetEmail(), Phone: r.Phone, FirstName: r.GetFirstName(), LastName: r.GetLastName(),
		Locale: r.GetLocale(), AcceptedTerms: r.GetAcceptedTerms(),
	}
	ch, err := s.register(ctx, p, r.GetPassword(), someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.RegisterResponse{
		ChallengeId: id.Format("chl", ch.ID), Channel: authv1.RegisterResponse_EMAIL,
		ExpiresIn: int32(codeLife.Seconds()), ResendAfter: int32(resendAfter.Seconds()),
	}, nil
}

func (s *publicServer) Verify(ctx context.Context, r *authv1.VerifyRequest) (*authv1.VerifyResponse, error) {
	ch, err := id.Parse("chl", r.GetChallengeId())
	if err != nil {
		return nil, wrongCode()
	}
	g, err := s.verify(ctx, ch, r.GetCode(), someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.VerifyResponse{Session: packGrant(g)}, nil
}

func (s *publicServer) Login(ctx context.Context, r *authv1.LoginRequest) (*authv1.LoginResponse, error) {
	res, err := s.login(ctx, r.GetEmail(), r.GetPassword(), frontDoor, someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.LoginResponse{Answer: packLogin(res)}, nil
}

func (s *publicServer) AdminLogin(ctx context.Context, r *authv1.AdminLoginRequest) (*authv1.AdminLoginResponse, error) {
	res, err := s.login(ctx, r.GetEmail(), r.GetPassword(), adminDoor, someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.AdminLoginResponse{Answer: packLogin(res)}, nil
}

func (s *publicServer) VerifyMfa(ctx context.Context, r *authv1.VerifyMfaRequest) (*authv1.VerifyMfaResponse, error) {
	g, err := s.verifyMFA(ctx, r.GetMfaToken(), r.GetCode(), someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.VerifyMfaResponse{Session: packGrant(g)}, nil
}

func (s *publicServer) Refresh(ctx context.Context, r *authv1.RefreshRequest) (*authv1.RefreshResponse, error) {
	g, err := s.refresh(ctx, r.GetRefreshToken(), someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.RefreshResponse{Session: packGrant(g)}, nil
}

func (s *publicServer) Logout(ctx context.Context, _ *authv1.LogoutRequest) (*authv1.LogoutResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	// Ended already is what the caller wants.
	if err := s.logout(ctx, c, c.SessionID); err != nil && !fail.Is(err, fail.NotFound) {
		return nil, err
	}
	return &authv1.LogoutResponse{}, nil
}

func (s *publicServer) LogoutAll(ctx context.Context, _ *authv1.LogoutAllRequest) (*authv1.LogoutAllResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.logoutAll(ctx, c); err != nil {
		return nil, err
	}
	return &authv1.LogoutAllResponse{}, nil
}

func (s *publicServer) RevokeSession(ctx context.Context, r *authv1.RevokeSessionRequest) (*authv1.RevokeSessionResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	sid, err := id.Parse("ses", r.GetId())
	if err != nil {
		return nil, fail.New(fail.NotFound, "there is no such session")
	}
	if err := s.logout(ctx, c, sid); err != nil {
		return nil, err
	}
	return &authv1.RevokeSessionResponse{}, nil
}

func (s *publicServer) ListSessions(ctx context.Context, r *authv1.ListSessionsRequest) (*authv1.ListSessionsResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "sessions\x00" + c.UserID.String()
	from := first
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &from); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, total, err := s.sessions(ctx, c.UserID, from, size+1, s.now())
	if err != nil {
		return nil, err
	}
	out := &authv1.ListSessionsResponse{TotalSize: int32(total)} //nolint:gosec // nobody has that many devices
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		out.NextPageToken = s.pages.Seal(query, cursor{Time: last.CreatedAt, ID: last.ID})
	}
	for _, x := range list {
		out.Sessions = append(out.Sessions, packSession(x, c.SessionID))
	}
	return out, nil
}

func (s *publicServer) CreateTotp(ctx context.Context, _ *authv1.CreateTotpRequest) (*authv1.CreateTotpResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	e, err := s.createTOTP(ctx, c)
	if err != nil {
		return nil, err
	}
	return &authv1.CreateTotpResponse{Secret: e.Secret, OtpauthUri: e.URI, QrPng: e.PNG}, nil
}

func (s *publicServer) ConfirmTotp(ctx context.Context, r *authv1.ConfirmTotpRequest) (*authv1.ConfirmTotpResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	codes, err := s.confirmTOTP(ctx, r.GetCode(), c)
	if err != nil {
		return nil, err
	}
	return &authv1.ConfirmTotpResponse{RecoveryCodes: codes}, nil
}

func packSession(x session, current uuid.UUID) *authv1.Session {
	return &authv1.Session{
		Id: sessionName(x.ID), Device: x.UserAgent, Ip: x.IP, CreatedAt: timestamppb.New(x.CreatedAt),
		LastSeenAt: timestamppb.New(x.LastSeenAt), Current: x.ID == current,
	}
}
