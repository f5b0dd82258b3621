package docs

import "github.com/manas360/platform/pkg/fail"

// errorView is a row of the page's table of errors. A problem's type,
// "/docs#CODE", lands on it.
type errorView struct {
	Code           string
	Status         int
	Title, Meaning string
}

func errorsOf(kinds []fail.Kind) []errorView {
	out := make([]errorView, len(kinds))
	for i, k := range kinds {
		out[i] = errorView{Code: k.Reason, Status: k.HTTP, Title: k.Title, Meaning: meanings[k]}
	}
	return out
}

// meanings says of each code when it comes and what a client does about it.
var meanings = map[fail.Kind]string{
	fail.InvalidArgument:      "Each bad field stands in errors, by its path. A repeat fails again. The status is 431 when the headers are too large.",
	fail.MalformedBody:        "The body is not a JSON object, not UTF-8 or not whole.",
	fail.UnsupportedMediaType: "Send application/json, not compressed.",
	fail.BodyTooLarge:         "The detail says how much is taken.",
	fail.NotFound:             "There is no such path or thing, or it is somebody else's.",
	fail.MethodNotAllowed:     "The path exists; Allow lists the methods it takes.",
	fail.Conflict:             "The thing's state does not permit this. Read it again and decide anew.",
	fail.PreconditionFailed:   "If-Match is older than the thing. Read it, apply the change to what you read, and repeat.",

	fail.Unauthenticated:     "The call needs a token and none was sent.",
	fail.TokenExpired:        "Refresh once and repeat.",
	fail.InvalidToken:        "The token was not issued by us, is not an access token or was changed. Sign in.",
	fail.TokenRevoked:        "The session has ended: signed out, or the account was suspended. Sign in.",
	fail.TokenStale:          "The token is genuine, but roles, plan or permissions have changed since. Refresh once and repeat.",
	fail.InvalidCredentials:  "The answer does not tell which of the two is wrong.",
	fail.InvalidCode:         "The code is wrong or was used already; a few tries are allowed.",
	fail.ChallengeExpired:    "The code's time is over. Ask for another, or sign in again.",
	fail.InvalidRefreshToken: "The token is unknown, or its session has ended. Sign in.",
	fail.RefreshReused:       "A refresh token was used twice, so its session was ended: one copy may be stolen. Sign in.",
	fail.TooManyAttempts:     "Wrong passwords or codes have locked this for a while.",
	fail.EmailNotVerified:    "The address has still to be proved with the code that was mailed.",
	fail.AccountSuspended:    "An administrator has suspended the account.",
	fail.WeakPassword:        "The errors say what the password lacks.",
	fail.MFARequired:         "Sign in with a second factor; without one, enrol it first.",
	fail.StepUpRequired:      "The sign-in is too old for this act. Sign in again.",
	fail.CSRFFailed:          "With cookies, a change repeats csrf_token in X-CSRF-Token.",

	fail.PermissionDenied:     "The account lacks the permission, and no repeat helps.",
	fail.SubscriptionRequired: "No subscription is live; upgradeTo names a plan with the feature.",
	fail.FeatureNotAvailable:  "The requiredFeature is not in the currentPlan; upgradeTo names a plan that has it.",
	fail.QuotaExceeded:        "The limit, used, remaining and resetsAt say how much and until when; upgradeTo names a plan with more.",
	fail.RateLimited:          "Slow down: the RateLimit headers say how much is left.",

	fail.IdempotencyKeyReused:       "The Idempotency-Key came before with another body. Use a new key for a new request.",
	fail.IdempotencyInProgress:      "The first request with this key still runs. Repeat it with the same key.",
	fail.InvalidSignature:           "A callback is not signed as agreed with the provider.",
	fail.PaymentProviderUnavailable: "Nothing was charged. Repeat with the same Idempotency-Key.",
	fail.RefundNotAllowed:           "The payment's state, age or amount permits no such refund.",

	fail.Unavailable:      "Something we need is down. Repeat with growing pauses.",
	fail.DeadlineExceeded: "The answer took too long, and a change may have happened. Look, or repeat with the same Idempotency-Key.",
	fail.Internal:         "The fault is ours. Report the requestId.",

	fail.LegalAcceptanceRequired: "An extension of the contract's list: the terms or the privacy notice have a new version. Show what /legal/required names, accept it at /legal/accept, refresh and repeat.",
}
