package auth

import (
	"context"

	"github.com/manas360/platform/pkg/page"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

type oidcServer struct {
	authv1.UnimplementedOidcServiceServer
	*Service
}

// place is where the next page begins, in a list that is configured.
type place struct {
	From int `json:"f"`
}

func (s *oidcServer) ListOidcProviders(_ context.Context, r *authv1.ListOidcProvidersRequest) (*authv1.ListOidcProvidersResponse, error) {
	const query = "oidc-providers"
	var at place
	if r.GetPageToken() != "" {
		if err := s.pages.Open(query, r.GetPageToken(), &at); err != nil {
			return nil, err
		}
	}
	names := s.providerNames()
	names = names[min(max(at.From, 0), len(names)):]
	out := &authv1.ListOidcProvidersResponse{}
	if size := page.Size(r.GetPageSize()); len(names) > size {
		names = names[:size]
		out.NextPageToken = s.pages.Seal(query, place{From: at.From + size})
	}
	for _, name := range names {
		out.Providers = append(out.Providers, &authv1.ListOidcProvidersResponse_Provider{Name: name})
	}
	return out, nil
}

func (s *oidcServer) StartOidc(ctx context.Context, r *authv1.StartOidcRequest) (*authv1.StartOidcResponse, error) {
	d, err := s.startOIDC(ctx, r.GetProvider(), r.GetReturnTo())
	if err != nil {
		return nil, err
	}
	return &authv1.StartOidcResponse{AuthorizationUrl: d.URL, Flow: d.Flow, ExpiresIn: seconds(flowLife)}, nil
}

func (s *oidcServer) FinishOidc(ctx context.Context, r *authv1.FinishOidcRequest) (*authv1.FinishOidcResponse, error) {
	a := arrival{Code: r.GetCode(), State: r.GetState(), Error: r.GetError(), Issuer: r.GetIss(), Flow: r.GetFlow()}
	res, returnTo, err := s.finishOIDC(ctx, r.GetProvider(), a, someone(ctx))
	if err != nil {
		return nil, err
	}
	return &authv1.FinishOidcResponse{Answer: packLogin(res), ReturnTo: returnTo}, nil
}
