package auth

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const passkeyPrefix = "pky"

func passkeyTarget(u uuid.UUID) target { return target{"passkey", id.Format(passkeyPrefix, u)} }

type passkeyServer struct {
	authv1.UnimplementedPasskeyServiceServer
	*Service
}

// packQuestion is the library's {"publicKey": options} and the ceremony's name.
// The options stand at the top as well: WebAuthn's JSON is the answer itself.
func packQuestion(q question) (*structpb.Struct, error) {
	text, err := json.Marshal(q.Options)
	if err != nil {
		return nil, fmt.Errorf("encode options: %w", err)
	}
	var o struct {
		PublicKey map[string]any `json:"publicKey"`
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fmt.Errorf("decode options: %w", err)
	}
	all := map[string]any{"publicKey": o.PublicKey, "ceremonyId": id.Format(ceremonyPrefix, q.Ceremony)}
	maps.Copy(all, o.PublicKey)
	out, err := structpb.NewStruct(all)
	if err != nil {
		return nil, fmt.Errorf("pack options: %w", err)
	}
	return out, nil
}

// keyAnswer is what every finish has: the JSON of a credential, at the top of the
// body or under "credential".
type keyAnswer interface {
	GetCeremonyId() string
	GetCredential() *structpb.Struct
	GetId() string
	GetRawId() string
	GetType() string
	GetResponse() *structpb.Struct
	GetClientExtensionResults() *structpb.Struct
	GetAuthenticatorAttachment() string
}

func unpackAnswer(r keyAnswer) (answered, error) {
	a := answered{Ceremony: r.GetCeremonyId()}
	var err error
	if r.GetCredential() != nil {
		a.Credential, err = r.GetCredential().MarshalJSON()
	} else {
		a.Credential, err = json.Marshal(map[string]any{
			"id": r.GetId(), "rawId": cmp.Or(r.GetRawId(), r.GetId()), "type": r.GetType(), "response": r.GetResponse().AsMap(),
			"clientExtensionResults": r.GetClientExtensionResults().AsMap(), "authenticatorAttachment": r.GetAuthenticatorAttachment(),
		})
	}
	if err != nil {
		return a, badCredential(err)
	}
	return a, nil
}

func (s *passkeyServer) BeginPasskeyRegistration(ctx context.Context, _ *authv1.BeginPasskeyRegistrationRequest) (*authv1.BeginPasskeyRegistrationResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	q, err := s.beginPasskey(ctx, c)
	if err != nil {
		return nil, err
	}
	options, err := packQuestion(q)
	return &authv1.BeginPasskeyRegistrationResponse{Options: options}, err
}

func (s *passkeyServer) FinishPasskeyRegistration(ctx context.Context, r *authv1.FinishPasskeyRegistrationRequest) (*authv1.FinishPasskeyRegistrationResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	a, err := unpackAnswer(r)
	if err != nil {
		return nil, err
	}
	row, codes, err := s.finishPasskey(ctx, a, r.GetName(), c)
	if err != nil {
		return nil, err
	}
	p := packPasskey(row)
	p.RecoveryCodes = codes
	return &authv1.FinishPasskeyRegistrationResponse{Passkey: p}, nil
}

func (s *passkeyServer) BeginPasskeyLogin(ctx context.Context, r *authv1.BeginPasskeyLoginRequest) (*authv1.BeginPasskeyLoginResponse, error) {
	q, err := s.beginPasskeyLogin(ctx, r.GetEmail())
	if err != nil {
		return nil, err
	}
	options, err := packQuestion(q)
	return &authv1.BeginPasskeyLoginResponse{Options: options}, err
}

func (s *passkeyServer) FinishPasskeyLogin(ctx context.Context, r *authv1.FinishPasskeyLoginRequest) (*authv1.FinishPasskeyLoginResponse, error) {
	a, err := unpackAnswer(r)
	if err != nil {
		return nil, err
	}
	g, err := s.finishPasskeyLogin(ctx, a, someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.FinishPasskeyLoginResponse{Session: packGrant(g)}, nil
}

func (s *passkeyServer) BeginPasskeyMfa(ctx context.Context, r *authv1.BeginPasskeyMfaRequest) (*authv1.BeginPasskeyMfaResponse, error) {
	q, err := s.beginPasskeyFactor(ctx, r.GetMfaToken())
	if err != nil {
		return nil, err
	}
	options, err := packQuestion(q)
	return &authv1.BeginPasskeyMfaResponse{Options: options}, err
}

func (s *passkeyServer) FinishPasskeyMfa(ctx context.Context, r *authv1.FinishPasskeyMfaRequest) (*authv1.FinishPasskeyMfaResponse, error) {
	a, err := unpackAnswer(r)
	if err != nil {
		return nil, err
	}
	g, err := s.finishPasskeyFactor(ctx, r.GetMfaToken(), a, someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.FinishPasskeyMfaResponse{Session: packGrant(g)}, nil
}

func (s *passkeyServer) ListPasskeys(ctx context.Context, r *authv1.ListPasskeysRequest) (*authv1.ListPasskeysResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "passkeys\x00" + c.UserID.String()
	from := first
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &from); err != nil {
			return nil, err
		}
	}
	size := page.Size(r.GetPageSize())
	list, total, err := s.passkeyPage(ctx, c.UserID, from, size+1)
	if err != nil {
		return nil, err
	}
	out := &authv1.ListPasskeysResponse{TotalSize: int32(total)} //nolint:gosec // nobody has that many
	if len(list) > size {
		list = list[:size]
		last := list[size-1]
		out.NextPageToken = s.pages.Seal(query, cursor{Time: last.CreatedAt, ID: last.ID})
	}
	for _, row := range list {
		out.Passkeys = append(out.Passkeys, packPasskey(row))
	}
	return out, nil
}

func (s *passkeyServer) UpdatePasskey(ctx context.Context, r *authv1.UpdatePasskeyRequest) (*authv1.UpdatePasskeyResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	passkeyID, err := id.Parse(passkeyPrefix, r.GetId())
	if err != nil {
		return nil, noPasskey()
	}
	name := plain(r.GetName(), 300)
	if name == "" {
		return nil, badField("name", "must not be empty")
	}
	row, found, err := s.namePasskey(ctx, c.UserID, passkeyID, name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, noPasskey()
	}
	return &authv1.UpdatePasskeyResponse{Passkey: packPasskey(row)}, nil
}

func (s *passkeyServer) DeletePasskey(ctx context.Context, r *authv1.DeletePasskeyRequest) (*authv1.DeletePasskeyResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	passkeyID, err := id.Parse(passkeyPrefix, r.GetId())
	if err != nil {
		return nil, noPasskey()
	}
	if err := s.deletePasskey(ctx, c, passkeyID); err != nil {
		return nil, err
	}
	return &authv1.DeletePasskeyResponse{}, nil
}

func packPasskey(row passkeyRow) *authv1.Passkey {
	p := &authv1.Passkey{
		Id: id.Format(passkeyPrefix, row.ID), Name: row.Name, Transports: row.Transports, BackedUp: row.BackedUp,
		CreatedAt: timestamppb.New(row.CreatedAt), Flagged: row.FlaggedAt != nil,
	}
	if row.LastUsedAt != nil {
		p.LastUsedAt = timestamppb.New(*row.LastUsedAt)
	}
	return p
}
