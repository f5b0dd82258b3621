package auth

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// credentialServer is how people sign in with a code, get back in, and change
// what they sign in with.
type credentialServer struct {
	authv1.UnimplementedCredentialServiceServer
	*Service
}

func (s *credentialServer) SendOtp(ctx context.Context, r *authv1.SendOtpRequest) (*authv1.SendOtpResponse, error) {
	channel := ""
	if r.GetChannel() != authv1.Challenge_CHANNEL_UNSPECIFIED {
		channel = r.GetChannel().String()
	}
	to, err := s.otpRecipient(r.Phone, r.Email, channel)
	if err != nil {
		return nil, err
	}
	x, err := s.sendOTP(ctx, to, someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.SendOtpResponse{Challenge: packChallenge(x)}, nil
}

func (s *credentialServer) VerifyOtp(ctx context.Context, r *authv1.VerifyOtpRequest) (*authv1.VerifyOtpResponse, error) {
	ch, err := parseChallenge(r.GetChallengeId())
	if err != nil {
		return nil, err
	}
	res, err := s.verifyOTP(ctx, ch, r.GetCode(), someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.VerifyOtpResponse{Answer: packLogin(res)}, nil
}

func (s *credentialServer) ForgotPassword(ctx context.Context, r *authv1.ForgotPasswordRequest) (*authv1.ForgotPasswordResponse, error) {
	x, err := s.forgot(ctx, r.GetEmail(), someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.ForgotPasswordResponse{Challenge: packChallenge(x)}, nil
}

func (s *credentialServer) ResetPassword(ctx context.Context, r *authv1.ResetPasswordRequest) (*authv1.ResetPasswordResponse, error) {
	ch, err := parseChallenge(r.GetChallengeId())
	if err != nil {
		return nil, err
	}
	if err := s.reset(ctx, ch, r.GetCode(), r.GetNewPassword(), someone(ctx)); err != nil {
		return nil, err
	}
	return &authv1.ResetPasswordResponse{}, nil
}

func (s *credentialServer) ChangePassword(ctx context.Context, r *authv1.ChangePasswordRequest) (*authv1.ChangePasswordResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.changePassword(ctx, c, r.GetCurrentPassword(), r.GetNewPassword()); err != nil {
		return nil, err
	}
	return &authv1.ChangePasswordResponse{}, nil
}

func (s *credentialServer) StepUp(ctx context.Context, r *authv1.StepUpRequest) (*authv1.StepUpResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	var g grant
	switch {
	case (r.GetPassword() == "") == (r.GetCode() == ""):
		return nil, badField("password", "give either a password or a code")
	case r.GetPassword() != "":
		g, err = s.stepUpPassword(ctx, c, r.GetPassword())
	default:
		g, err = s.stepUpCode(ctx, c, r.GetCode())
	}
	if err != nil {
		return nil, err
	}
	return &authv1.StepUpResponse{Session: packGrant(g)}, nil
}

func (s *credentialServer) DisableTotp(ctx context.Context, r *authv1.DisableTotpRequest) (*authv1.DisableTotpResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.disableTOTP(ctx, c, r.GetPassword(), r.GetCode()); err != nil {
		return nil, err
	}
	return &authv1.DisableTotpResponse{}, nil
}

func (s *credentialServer) RenewRecoveryCodes(ctx context.Context, _ *authv1.RenewRecoveryCodesRequest) (*authv1.RenewRecoveryCodesResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	codes, err := s.renewRecoveryCodes(ctx, c)
	if err != nil {
		return nil, err
	}
	return &authv1.RenewRecoveryCodesResponse{RecoveryCodes: codes}, nil
}

func (s *credentialServer) ChangeEmail(ctx context.Context, r *authv1.ChangeEmailRequest) (*authv1.ChangeEmailResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	x, err := s.changeEmail(ctx, c, r.GetNewEmail(), r.GetPassword())
	if err != nil {
		return nil, err
	}
	return &authv1.ChangeEmailResponse{Challenge: packChallenge(x)}, nil
}

func (s *credentialServer) VerifyEmail(ctx context.Context, r *authv1.VerifyEmailRequest) (*authv1.VerifyEmailResponse, error) {
	c, ch, err := ownChallenge(ctx, r.GetChallengeId())
	if err != nil {
		return nil, err
	}
	if err := s.verifyEmail(ctx, c, ch, r.GetCode()); err != nil {
		return nil, err
	}
	return &authv1.VerifyEmailResponse{}, nil
}

func (s *credentialServer) ChangePhone(ctx context.Context, r *authv1.ChangePhoneRequest) (*authv1.ChangePhoneResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	x, err := s.changePhone(ctx, c, r.GetPhone())
	if err != nil {
		return nil, err
	}
	return &authv1.ChangePhoneResponse{Challenge: packChallenge(x)}, nil
}

func (s *credentialServer) VerifyPhone(ctx context.Context, r *authv1.VerifyPhoneRequest) (*authv1.VerifyPhoneResponse, error) {
	c, ch, err := ownChallenge(ctx, r.GetChallengeId())
	if err != nil {
		return nil, err
	}
	if err := s.verifyPhone(ctx, c, ch, r.GetCode()); err != nil {
		return nil, err
	}
	return &authv1.VerifyPhoneResponse{}, nil
}

func ownChallenge(ctx context.Context, name string) (*token.Caller, uuid.UUID, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, uuid.Nil, err
	}
	ch, err := parseChallenge(name)
	return c, ch, err
}

func parseChallenge(name string) (uuid.UUID, error) {
	ch, err := id.Parse("chl", name)
	if err != nil {
		return uuid.Nil, wrongCode()
	}
	return ch, nil
}

func packChallenge(x oneTime) *authv1.Challenge {
	return &authv1.Challenge{
		ChallengeId: id.Format("chl", x.ID), Channel: authv1.Challenge_Channel(authv1.Challenge_Channel_value[x.Channel]),
		ExpiresIn: seconds(codeLife), ResendAfter: seconds(resendAfter),
	}
}
