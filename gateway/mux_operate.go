package gateway

import (
	"context"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
)

// operations is how operators see the suite as a whole.
func operations() []registration {
	service := func(f protoreflect.FileDescriptor, name protoreflect.Name) protoreflect.ServiceDescriptor {
		return f.Services().ByName(name)
	}
	return []registration{
		{
			"admin", service(adminv1.File_manas_admin_v1_metrics_proto, "AdminMetricsService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminMetricsServiceHandlerClient(ctx, m, adminv1.NewAdminMetricsServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_listing_proto, "AdminListingService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminListingServiceHandlerClient(ctx, m, adminv1.NewAdminListingServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_dead_letter_proto, "AdminDeadLetterService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminDeadLetterServiceHandlerClient(ctx, m, adminv1.NewAdminDeadLetterServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_system_proto, "AdminSystemService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminSystemServiceHandlerClient(ctx, m, adminv1.NewAdminSystemServiceClient(cc))
			},
		},
		{
			"admin", service(adminv1.File_manas_admin_v1_bulk_proto, "AdminBulkService"),
			func(ctx context.Context, m *runtime.ServeMux, cc grpc.ClientConnInterface) error {
				return adminv1.RegisterAdminBulkServiceHandlerClient(ctx, m, adminv1.NewAdminBulkServiceClient(cc))
			},
		},
	}
}
