package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/manas360/platform/pkg/fail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// backends are the peers of the edge, by the name in their certificate.
var backends = []string{"auth", "user", "subscription", "payment", "audit", "admin"}

type registration struct {
	backend  string
	service  protoreflect.ServiceDescriptor
	register func(ctx context.Context, mux *runtime.ServeMux, cc grpc.ClientConnInterface) error
}

func registrations() []registration {
	service := func(f protoreflect.FileDescriptor, name protoreflect.Name) protoreflect.ServiceDescriptor {
		return f.Services().ByName(name)
	}
	return slices.Concat(people(), money(), administration(), operations(), []registration{
		{
			"auth", service(authv1.File_manas_auth_v1_auth_proto, "AuthService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return authv1.RegisterAuthServiceHandlerClient(ctx, m, authv1.NewAuthServiceClient(cc))
			},
		},
		{
			"auth", service(authv1.File_manas_auth_v1_credential_proto, "CredentialService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return authv1.RegisterCredentialServiceHandlerClient(ctx, m, authv1.NewCredentialServiceClient(cc))
			},
		},
		{
			"auth", service(authv1.File_manas_auth_v1_passkey_proto, "PasskeyService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return authv1.RegisterPasskeyServiceHandlerClient(ctx, m, authv1.NewPasskeyServiceClient(cc))
			},
		},
		{
			"auth", service(authv1.File_manas_auth_v1_api_key_proto, "ApiKeyService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return authv1.RegisterApiKeyServiceHandlerClient(ctx, m, authv1.NewApiKeyServiceClient(cc))
			},
		},
		{
			"auth", service(authv1.File_manas_auth_v1_oidc_proto, "OidcService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return authv1.RegisterOidcServiceHandlerClient(ctx, m, authv1.NewOidcServiceClient(cc))
			},
		},
		{
			"auth", service(authv1.File_manas_auth_v1_legal_proto, "LegalService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return authv1.RegisterLegalServiceHandlerClient(ctx, m, authv1.NewLegalServiceClient(cc))
			},
		},
		{
			"user", service(userv1.File_manas_user_v1_user_proto, "UserService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return userv1.RegisterUserServiceHandlerClient(ctx, m, userv1.NewUserServiceClient(cc))
			},
		},
		{
			"audit", service(auditv1.File_manas_audit_v1_audit_proto, "AuditService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return auditv1.RegisterAuditServiceHandlerClient(ctx, m, auditv1.NewAuditServiceClient(cc))
			},
		},
		{
			"audit", service(auditv1.File_manas_audit_v1_export_proto, "ExportService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return auditv1.RegisterExportServiceHandlerClient(ctx, m, auditv1.NewExportServiceClient(cc))
			},
		},
		{
			"audit", service(auditv1.File_manas_audit_v1_admin_export_proto, "AdminExportService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return auditv1.RegisterAdminExportServiceHandlerClient(ctx, m, auditv1.NewAdminExportServiceClient(cc))
			},
		},
		{
			"audit", service(auditv1.File_manas_audit_v1_proof_proto, "ProofService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return auditv1.RegisterProofServiceHandlerClient(ctx, m, auditv1.NewProofServiceClient(cc))
			},
		},
	})
}

// transcode adds the routes of every public service to the table. grpc-gateway
// decodes, calls and encodes; which handler serves a path is our table's
// decision alone, because ServeMux lets the pattern registered last win and
// would read /users/me as the user called "me".
func (e *Edge) transcode(ctx context.Context) error {
	for _, reg := range registrations() {
		conn := e.conns[reg.backend]
		if conn == nil {
			return fmt.Errorf("no connection to %s", reg.backend)
		}
		routes, err := contractRoutes(reg.service)
		if err != nil {
			return fmt.Errorf("read contract: %w", err)
		}
		var handlers []runtime.HandlerFunc
		mux := runtime.NewServeMux(append(e.muxOptions(), runtime.WithMiddlewares(
			func(next runtime.HandlerFunc) runtime.HandlerFunc {
				handlers = append(handlers, next)
				return next
			}))...)
		if err := reg.register(ctx, mux, guard{conn}); err != nil {
			return fmt.Errorf("register %s: %w", reg.service.FullName(), err)
		}
		if len(handlers) != len(routes) {
			return fmt.Errorf("%s: %d handlers for %d routes", reg.service.FullName(), len(handlers), len(routes))
		}
		for i, rt := range routes {
			rt.serve = handlers[i]
			if rt.streams {
				rt.serve = e.streamed(handlers[i]) //nolint:contextcheck // the request carries it
			}
			if err := e.routes.add(rt); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Edge) muxOptions() []runtime.ServeMuxOption {
	return []runtime.ServeMuxOption{
		runtime.WithMarshalerOption(runtime.MIMEWildcard, undelimited{&runtime.HTTPBodyMarshaler{Marshaler: &runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{EmitDefaultValues: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: false},
		}}}),
		runtime.WithForwardResponseRewriter(chunk),
		runtime.WithStreamErrorHandler(brokenOff),
		runtime.WithIncomingHeaderMatcher(incoming),
		runtime.WithOutgoingHeaderMatcher(nothing),
		runtime.WithOutgoingTrailerMatcher(nothing),
		runtime.WithForwardResponseOption(e.respond),
		runtime.WithErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
			e.problem(w, r, transcodingError(err))
		}),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithWriteContentLength(),
	}
}

// forwarded are the only headers of a client that any service sees.
var forwarded = []string{"Idempotency-Key", "If-Match", "If-None-Match", "Accept-Language"}

func incoming(key string) (string, bool) {
	switch key {
	case "Idempotency-Key":
		return "idempotency-key", true
	case "If-Match":
		return "if-match", true
	case "If-None-Match":
		return "if-none-match", true
	case "Accept-Language":
		return "accept-language", true
	default:
		return "", false
	}
}

func nothing(string) (string, bool) { return "", false }

// scrub gives the request as grpc-gateway may see it: no header but the
// forwarded ones, so that no credential, timeout, identity or hop-by-hop header
// of a client can become metadata by any rule of that library.
func scrub(r *http.Request) *http.Request {
	clean := make(http.Header, len(forwarded))
	for _, h := range forwarded {
		if v := r.Header.Values(h); len(v) > 0 {
			clean.Set(h, strings.Join(v, ", ")) // lists may come in parts
		}
	}
	out := r.WithContext(r.Context())
	out.Header = clean
	out.Trailer = nil
	// Both would travel as x-forwarded-*; services read the caller instead.
	out.RemoteAddr, out.Host = "", ""
	return out
}

// guard refuses any call but the one whose rule was checked. A wrong order of
// routes and handlers then fails loudly instead of opening a door.
type guard struct{ grpc.ClientConnInterface }

// Invoke calls the RPC of the request's route.
func (g guard) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	rt := requestOf(ctx).route
	if rt == nil || rt.rpc != method {
		return fail.New(fail.Internal, "internal error").Wrap(fmt.Errorf("call of %s without its rule", method))
	}
	return g.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// NewStream opens the stream of the request's route.
func (g guard) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	rt := requestOf(ctx).route
	if rt == nil || rt.rpc != method || !rt.streams {
		return nil, fail.New(fail.Internal, "internal error").Wrap(fmt.Errorf("stream of %s without its rule", method))
	}
	return g.ClientConnInterface.NewStream(ctx, desc, method, opts...)
}

// money is what is sold, held and paid.
func money() []registration {
	service := func(f protoreflect.FileDescriptor, name protoreflect.Name) protoreflect.ServiceDescriptor {
		return f.Services().ByName(name)
	}
	return []registration{
		{
			"subscription", service(subscriptionv1.File_manas_subscription_v1_subscription_proto, "SubscriptionService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return subscriptionv1.RegisterSubscriptionServiceHandlerClient(ctx, m, subscriptionv1.NewSubscriptionServiceClient(cc))
			},
		},
		{
			"subscription", service(subscriptionv1.File_manas_subscription_v1_billing_proto, "BillingService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return subscriptionv1.RegisterBillingServiceHandlerClient(ctx, m, subscriptionv1.NewBillingServiceClient(cc))
			},
		},
		{
			"subscription", service(subscriptionv1.File_manas_subscription_v1_test_clock_proto, "TestClockService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return subscriptionv1.RegisterTestClockServiceHandlerClient(ctx, m, subscriptionv1.NewTestClockServiceClient(cc))
			},
		},
		{
			"subscription", service(subscriptionv1.File_manas_subscription_v1_reservation_proto, "ReservationService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return subscriptionv1.RegisterReservationServiceHandlerClient(ctx, m, subscriptionv1.NewReservationServiceClient(cc))
			},
		},
		{
			"subscription", service(subscriptionv1.File_manas_subscription_v1_purchase_proto, "PurchaseService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return subscriptionv1.RegisterPurchaseServiceHandlerClient(ctx, m, subscriptionv1.NewPurchaseServiceClient(cc))
			},
		},
		{
			"payment", service(paymentv1.File_manas_payment_v1_endpoint_proto, "WebhookEndpointService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return paymentv1.RegisterWebhookEndpointServiceHandlerClient(ctx, m, paymentv1.NewWebhookEndpointServiceClient(cc))
			},
		},
		{
			"payment", service(paymentv1.File_manas_payment_v1_payment_proto, "PaymentService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return paymentv1.RegisterPaymentServiceHandlerClient(ctx, m, paymentv1.NewPaymentServiceClient(cc))
			},
		},
		{
			"payment", service(paymentv1.File_manas_payment_v1_mandate_proto, "MandateService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return paymentv1.RegisterMandateServiceHandlerClient(ctx, m, paymentv1.NewMandateServiceClient(cc))
			},
		},
		{
			"payment", service(paymentv1.File_manas_payment_v1_refund_proto, "RefundService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return paymentv1.RegisterRefundServiceHandlerClient(ctx, m, paymentv1.NewRefundServiceClient(cc))
			},
		},
	}
}

// administration is what operators do.
func administration() []registration {
	service := func(f protoreflect.FileDescriptor, name protoreflect.Name) protoreflect.ServiceDescriptor {
		return f.Services().ByName(name)
	}
	return []registration{
		{
			"admin", service(adminv1.File_manas_admin_v1_admin_proto, "AdminService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminServiceHandlerClient(ctx, m, adminv1.NewAdminServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_role_proto, "AdminRoleService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminRoleServiceHandlerClient(ctx, m, adminv1.NewAdminRoleServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_payment_proto, "AdminPaymentService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminPaymentServiceHandlerClient(ctx, m, adminv1.NewAdminPaymentServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_webhook_proto, "AdminWebhookService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminWebhookServiceHandlerClient(ctx, m, adminv1.NewAdminWebhookServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_payout_proto, "AdminPayoutService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminPayoutServiceHandlerClient(ctx, m, adminv1.NewAdminPayoutServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_plan_proto, "AdminPlanService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminPlanServiceHandlerClient(ctx, m, adminv1.NewAdminPlanServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_subscription_act_proto, "AdminSubscriptionActService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminSubscriptionActServiceHandlerClient(ctx, m, adminv1.NewAdminSubscriptionActServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_finding_proto, "AdminFindingService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminFindingServiceHandlerClient(ctx, m, adminv1.NewAdminFindingServiceClient(cc))
			},
		},
	}
}
