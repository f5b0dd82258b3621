package auth

import (
	"context"
	"encoding/json"
	"fmt"

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

// packOptions is the library's {"publicKey": options} as WebAuthn's JSON: the
// options themselves. publicKey repeats them.
func packOptions(wrapped any) (*structpb.Struct, error) {
	text, err := json.Marshal(wrapped)
	if err != nil {
		return nil, fmt.Errorf("encode options: %w", err)
	}
	var o struct {
		PublicKey map[string]any `json:"publicKey"`
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fmt.Errorf("decode options: %w", err)
	}
	all := map[string]any{"publicKey": o.PublicKey}
	for k, v := range o.PublicKey {
		all[k] = v
	}
	out, err := structpb.NewStruct(all)
	if err != nil {
		return nil, fmt.Errorf("pack options: %w", err)
	}
	return out, nil
}

// answered is the JSON of a credential, whether it stands at the top of the
// body or under "credential".
func answered(credential, response, extensions *structpb.Struct, credID, rawID, kind, attachment string) ([]byte, error) {
	if credential != nil {
		text, err := credential.MarshalJSON()
		if err != nil {
			return nil, badCredential(err)
		}
		return text, nil
	}
	if rawID == "" {
		rawID = credID
	}
	text, err := json.Marshal(map[string]any{
		"id": credID, "rawId": rawID, "type": kind, "response": response.AsMap(), "clientExtensionResults": extensions.AsMap(),
		"authenticatorAttachment": attachment,
	})
	if err != nil {
		return nil, badCredential(err)
	}
	return text, nil
}

func (s *passkeyServer) BeginPasskeyRegistration(ctx context.Context, _ *authv1.BeginPasskeyRegistrationRequest) (*authv1.BeginPasskeyRegistrationResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	o, err := s.beginPasskey(ctx, c)
	if err != nil {
		return nil, err
	}
	options, err := packOptions(o)
	return &authv1.BeginPasskeyRegistrationResponse{Options: options}, err
}

func (s *passkeyServer) FinishPasskeyRegistration(ctx context.Context, r *authv1.FinishPasskeyRegistrationRequest) (*authv1.FinishPasskeyRegistrationResponse, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	text, err := answered(r.GetCredential(), r.GetResponse(), r.GetClientExtensionResults(), r.GetId(), r.GetRawId(), r.GetType(), r.GetAuthenticatorAttachment())
	if err != nil {
		return nil, err
	}
	row, codes, err := s.finishPasskey(ctx, text, r.GetName(), c)
	if err != nil {
		return nil, err
	}
	p := packPasskey(row)
	p.RecoveryCodes = codes
	return &authv1.FinishPasskeyRegistrationResponse{Passkey: p}, nil
}

func (s *passkeyServer) BeginPasskeyLogin(ctx context.Context, r *authv1.BeginPasskeyLoginRequest) (*authv1.BeginPasskeyLoginResponse, error) {
	o, err := s.beginPasskeyLogin(ctx, r.GetEmail(), r.GetMfaToken())
	if err != nil {
		return nil, err
	}
	options, err := packOptions(o)
	return &authv1.BeginPasskeyLoginResponse{Options: options}, err
}

func (s *passkeyServer) FinishPasskeyLogin(ctx context.Context, r *authv1.FinishPasskeyLoginRequest) (*authv1.FinishPasskeyLoginResponse, error) {
	text, err := answered(r.GetCredential(), r.GetResponse(), r.GetClientExtensionResults(), r.GetId(), r.GetRawId(), r.GetType(), r.GetAuthenticatorAttachment())
	if err != nil {
		return nil, err
	}
	g, err := s.finishPasskeyLogin(ctx, text, someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.FinishPasskeyLoginResponse{Session: packGrant(g)}, nil
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
