package fail

import (
	"net/http"
	"slices"

	"google.golang.org/grpc/codes"
)

// Kind is one error code of the public contract, section 9. HTTP is the status
// the edge answers with; Title is the problem's short English title.
type Kind struct {
	Reason string
	Code   codes.Code
	HTTP   int
	Title  string
}

// The kinds, one for each value of manas.type.v1.Reason; section 9 of the
// contract says when each is used, the docs page when an extension is.
var (
	InvalidArgument      = Kind{"INVALID_ARGUMENT", codes.InvalidArgument, http.StatusBadRequest, "Invalid request"}
	MalformedBody        = Kind{"MALFORMED_BODY", codes.InvalidArgument, http.StatusBadRequest, "Malformed request body"}
	UnsupportedMediaType = Kind{"UNSUPPORTED_MEDIA_TYPE", codes.InvalidArgument, http.StatusUnsupportedMediaType, "Unsupported content type"}
	BodyTooLarge         = Kind{"BODY_TOO_LARGE", codes.InvalidArgument, http.StatusRequestEntityTooLarge, "Request body too large"}
	NotFound             = Kind{"NOT_FOUND", codes.NotFound, http.StatusNotFound, "Not found"}
	MethodNotAllowed     = Kind{"METHOD_NOT_ALLOWED", codes.Unimplemented, http.StatusMethodNotAllowed, "Method not allowed"}
	Conflict             = Kind{"CONFLICT", codes.Aborted, http.StatusConflict, "Conflict"}
	PreconditionFailed   = Kind{"PRECONDITION_FAILED", codes.FailedPrecondition, http.StatusPreconditionFailed, "Resource has changed"}

	Unauthenticated     = Kind{"UNAUTHENTICATED", codes.Unauthenticated, http.StatusUnauthorized, "Sign-in required"}
	TokenExpired        = Kind{"TOKEN_EXPIRED", codes.Unauthenticated, http.StatusUnauthorized, "Token expired"}
	InvalidToken        = Kind{"INVALID_TOKEN", codes.Unauthenticated, http.StatusUnauthorized, "Invalid token"}
	TokenRevoked        = Kind{"TOKEN_REVOKED", codes.Unauthenticated, http.StatusUnauthorized, "Token revoked"}
	TokenStale          = Kind{"TOKEN_STALE", codes.Unauthenticated, http.StatusUnauthorized, "Token out of date"}
	InvalidCredentials  = Kind{"INVALID_CREDENTIALS", codes.Unauthenticated, http.StatusUnauthorized, "Wrong e-mail or password"}
	InvalidCode         = Kind{"INVALID_CODE", codes.Unauthenticated, http.StatusUnauthorized, "Wrong code"}
	ChallengeExpired    = Kind{"CHALLENGE_EXPIRED", codes.FailedPrecondition, http.StatusGone, "Challenge expired"}
	InvalidRefreshToken = Kind{"INVALID_REFRESH_TOKEN", codes.Unauthenticated, http.StatusUnauthorized, "Invalid refresh token"}
	RefreshReused       = Kind{"REFRESH_REUSED", codes.Unauthenticated, http.StatusUnauthorized, "Refresh token reused"}
	TooManyAttempts     = Kind{"TOO_MANY_ATTEMPTS", codes.ResourceExhausted, http.StatusTooManyRequests, "Too many attempts"}
	EmailNotVerified    = Kind{"EMAIL_NOT_VERIFIED", codes.PermissionDenied, http.StatusForbidden, "E-mail not verified"}
	AccountSuspended    = Kind{"ACCOUNT_SUSPENDED", codes.PermissionDenied, http.StatusForbidden, "Account suspended"}
	WeakPassword        = Kind{"WEAK_PASSWORD", codes.InvalidArgument, http.StatusBadRequest, "Password too weak"}
	MFARequired         = Kind{"MFA_REQUIRED", codes.PermissionDenied, http.StatusForbidden, "Second factor required"}
	StepUpRequired      = Kind{"STEP_UP_REQUIRED", codes.PermissionDenied, http.StatusForbidden, "Recent sign-in required"}
	CSRFFailed          = Kind{"CSRF_FAILED", codes.PermissionDenied, http.StatusForbidden, "CSRF check failed"}

	PermissionDenied     = Kind{"PERMISSION_DENIED", codes.PermissionDenied, http.StatusForbidden, "Permission denied"}
	SubscriptionRequired = Kind{"SUBSCRIPTION_REQUIRED", codes.PermissionDenied, http.StatusPaymentRequired, "Subscription required"}
	FeatureNotAvailable  = Kind{"FEATURE_NOT_AVAILABLE", codes.PermissionDenied, http.StatusForbidden, "Feature not in plan"}
	QuotaExceeded        = Kind{"QUOTA_EXCEEDED", codes.ResourceExhausted, http.StatusTooManyRequests, "Quota exceeded"}
	RateLimited          = Kind{"RATE_LIMITED", codes.ResourceExhausted, http.StatusTooManyRequests, "Too many requests"}

	IdempotencyKeyReused  = Kind{"IDEMPOTENCY_KEY_REUSED", codes.Aborted, http.StatusConflict, "Idempotency key reused"}
	IdempotencyInProgress = Kind{"IDEMPOTENCY_IN_PROGRESS", codes.Aborted, http.StatusConflict, "Request in progress"}
	InvalidSignature      = Kind{"INVALID_SIGNATURE", codes.Unauthenticated, http.StatusUnauthorized, "Invalid signature"}
	// Not codes.Unavailable: our clients repeat that at once, and a sick
	// provider must not get three calls for each of ours.
	PaymentProviderUnavailable = Kind{"PAYMENT_PROVIDER_UNAVAILABLE", codes.Aborted, http.StatusBadGateway, "Payment provider unavailable"}
	RefundNotAllowed           = Kind{"REFUND_NOT_ALLOWED", codes.FailedPrecondition, http.StatusConflict, "Refund not allowed"}

	Unavailable      = Kind{"UNAVAILABLE", codes.Unavailable, http.StatusServiceUnavailable, "Service unavailable"}
	DeadlineExceeded = Kind{"DEADLINE_EXCEEDED", codes.DeadlineExceeded, http.StatusGatewayTimeout, "Took too long"}
	Internal         = Kind{"INTERNAL", codes.Internal, http.StatusInternalServerError, "Internal error"}

	// Extensions of section 9.
	LegalAcceptanceRequired = Kind{"LEGAL_ACCEPTANCE_REQUIRED", codes.FailedPrecondition, http.StatusPreconditionRequired, "Acceptance of legal documents required"}
)

// kinds is the contract's list, in its order.
var kinds = []Kind{
	InvalidArgument, MalformedBody, UnsupportedMediaType, BodyTooLarge, NotFound, MethodNotAllowed, Conflict,
	PreconditionFailed, Unauthenticated, TokenExpired, InvalidToken, TokenRevoked, TokenStale, InvalidCredentials,
	InvalidCode, ChallengeExpired, InvalidRefreshToken, RefreshReused, TooManyAttempts, EmailNotVerified,
	AccountSuspended, WeakPassword, MFARequired, StepUpRequired, CSRFFailed, PermissionDenied, SubscriptionRequired,
	FeatureNotAvailable, QuotaExceeded, RateLimited, IdempotencyKeyReused, IdempotencyInProgress, InvalidSignature,
	PaymentProviderUnavailable, RefundNotAllowed, Unavailable, DeadlineExceeded, Internal,
	LegalAcceptanceRequired,
}

var byReason = index(kinds)

// Kinds lists every kind, in the contract's order. The slice is the caller's.
func Kinds() []Kind { return slices.Clone(kinds) }

// ByReason finds the kind of a contract code such as "TOKEN_STALE".
func ByReason(reason string) (Kind, bool) {
	k, ok := byReason[reason]
	return k, ok
}

func index(kinds []Kind) map[string]Kind {
	m := make(map[string]Kind, len(kinds))
	for _, k := range kinds {
		m[k.Reason] = k
	}
	return m
}
