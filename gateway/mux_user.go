package gateway

import (
	"context"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// people are the services of user beside UserService.
func people() []registration {
	preferences := userv1.File_manas_user_v1_preferences_proto.Services()
	consent := userv1.File_manas_user_v1_consent_proto.Services()
	organization := userv1.File_manas_user_v1_organization_proto.Services()
	therapist := userv1.File_manas_user_v1_therapist_proto.Services()
	return []registration{
		{
			"user", preferences.ByName("PreferencesService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return userv1.RegisterPreferencesServiceHandlerClient(ctx, m, userv1.NewPreferencesServiceClient(cc))
			},
		},
		{
			"user", consent.ByName("ConsentService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return userv1.RegisterConsentServiceHandlerClient(ctx, m, userv1.NewConsentServiceClient(cc))
			},
		},
		{
			"user", organization.ByName("OrganizationService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return userv1.RegisterOrganizationServiceHandlerClient(ctx, m, userv1.NewOrganizationServiceClient(cc))
			},
		},
		{
			"user", therapist.ByName("TherapistService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return userv1.RegisterTherapistServiceHandlerClient(ctx, m, userv1.NewTherapistServiceClient(cc))
			},
		},
		{
			"user", therapist.ByName("AdminTherapistService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return userv1.RegisterAdminTherapistServiceHandlerClient(ctx, m, userv1.NewAdminTherapistServiceClient(cc))
			},
		},
		{
			"user", userv1.File_manas_user_v1_data_request_proto.Services().ByName("DataRequestService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return userv1.RegisterDataRequestServiceHandlerClient(ctx, m, userv1.NewDataRequestServiceClient(cc))
			},
		},
	}
}
