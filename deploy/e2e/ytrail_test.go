package e2e_test

import (
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

// The calls that no other test makes, so that each is seen to leave its event.
func TestSeldomCalls(t *testing.T) {
	owner, root, healer := join(t), signInSuperadmin(t), join(t)
	owner.want(202, "", api.Call{Method: "POST", URL: "/auth/password/forgot", Body: body{"email": owner.email}})

	o := owner.order("/subscriptions/checkout", body{"planCode": "premium", "cycle": "MONTHLY"})
	o.complete("SUCCESS")
	o.paid()
	owner.plan("premium")
	org := owner.fresh(201, "", "POST", "/organizations", body{"name": "Acme Care", "type": "CORPORATE"})
	at := "/organizations/" + org.Str("id") + "/invitations"
	i := owner.fresh(201, "", "POST", at, body{"email": "e2e-" + unique() + "@example.com"})
	owner.fresh(429, "RATE_LIMITED", "POST", at+"/"+i.Str("id")+"/resend", body{})
	owner.fresh(204, "", "DELETE", at+"/"+i.Str("id"), nil)

	healer.fresh(200, "", "PUT", "/users/me/therapist-profile", body{
		"type": "PSYCHOLOGIST", "specializations": []string{"sleep " + unique()}, "experienceYears": 3, "licenseNumber": "RCI B2", "languages": []string{"hi"},
	})
	decided := "/admin/therapists/" + healer.id
	for _, turn := range []string{"reject", "verify"} {
		healer.fresh(200, "", "POST", "/users/me/therapist-profile/submit", body{})
		root.want(200, "", send(root, "POST", decided+"/"+turn, body{"reason": "the council's register was asked"}))
	}
}
