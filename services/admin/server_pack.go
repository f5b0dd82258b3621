package admin

import (
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// summary joins auth's account with user's name, which wins where it exists:
// a person may have changed it since registration.
func summary(a *authv1.Account, names map[string]*userv1.User) *adminv1.UserSummary {
	var userID uuid.UUID
	copy(userID[:], a.GetId())
	out := &adminv1.UserSummary{
		Id: id.Format("usr", userID), Email: shown(a.Email), Phone: shown(a.Phone),
		FirstName: a.GetFirstName(), LastName: a.GetLastName(),
		State: adminv1.UserSummary_State(a.GetState()), Roles: a.GetRoles(),
		MfaEnabled: a.GetMfaEnabled(), EmailVerified: a.GetEmailVerified(),
		CreatedAt: a.GetCreatedAt(), LastLoginAt: a.GetLastLoginAt(),
	}
	if u, ok := names[out.GetId()]; ok {
		out.FirstName, out.LastName = u.GetFirstName(), u.GetLastName()
	}
	return out
}

// detail is a person's page.
func detail(u *adminv1.UserSummary, sub *subscriptionv1.GetUserSubscriptionResponse, pays *paymentv1.ListUserPaymentsResponse) *adminv1.UserDetail {
	out := &adminv1.UserDetail{
		Id: u.GetId(), Email: u.Email, Phone: u.Phone, FirstName: u.GetFirstName(), LastName: u.GetLastName(),
		State: u.GetState(), Roles: u.GetRoles(), MfaEnabled: u.GetMfaEnabled(), EmailVerified: u.GetEmailVerified(),
		CreatedAt: u.GetCreatedAt(), LastLoginAt: u.GetLastLoginAt(),
	}
	if live := sub.GetSubscription(); live != nil {
		out.Subscription = &adminv1.UserDetail_SubscriptionSummary{
			Id: live.GetId(), State: live.GetState().String(), PlanCode: live.GetPlanCode(),
			CurrentPeriodEnd: live.GetCurrentPeriodEnd(), Features: sub.GetEntitlements().GetFeatures(),
		}
	}
	for _, p := range pays.GetPayments() {
		out.Payments = append(out.Payments, &adminv1.UserDetail_PaymentSummary{
			Id: p.GetId(), State: p.GetState().String(), Amount: p.GetAmount(), CreatedAt: p.GetCreatedAt(),
		})
	}
	return out
}

// shown is a value that may be missing, empty then: the contract fixes which
// fields a client finds.
func shown(s *string) *string {
	if s == nil {
		return new(string)
	}
	return s
}
