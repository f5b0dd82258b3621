package auth

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
)

// notice is a message that another service asks for.
type notice struct {
	UserID           uuid.UUID // zero for somebody without an account
	Email            string    // whom then
	Template, Locale string
	Params           map[string]string
}

const maxParam = 500 // bytes

// notify queues a notice. Fails with INVALID_ARGUMENT for one that could never
// be sent.
func (s *Service) notify(ctx context.Context, tx pg.Tx, n notice) error {
	if !forms[n.Template].Notice {
		return fail.New(fail.InvalidArgument, "there is no notice %q", n.Template)
	}
	for key, value := range n.Params {
		if !slices.Contains([]string{"name", "code", "detail", "date", "link"}, key) || len(value) > maxParam {
			return fail.New(fail.InvalidArgument, "the notice's parameter %q is unknown or too long", key)
		}
	}
	if _, err := s.scribe.link(n.Params["link"]); err != nil {
		return fail.New(fail.InvalidArgument, "the notice's link is not ours").Wrap(err)
	}
	m := mail{To: canonicalEmail(n.Email), Template: n.Template, Locale: n.Locale, Name: n.Params["name"], Code: n.Params["code"], Params: n.Params}
	if n.UserID != uuid.Nil {
		acc, found, err := s.account(ctx, tx, n.UserID)
		if err != nil {
			return err
		}
		if found {
			m.To, m.Locale, m.Name = acc.Email, acc.Locale, acc.FirstName
		}
	}
	if m.To == "" {
		return fail.New(fail.InvalidArgument, "there is nobody to send the notice to")
	}
	return s.queueMail(ctx, tx, m, s.now())
}
