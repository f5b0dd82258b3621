// Command vendorproto writes the .proto sources our contracts import, printed
// from the descriptors linked into the Go modules pinned in proto/go.mod.
//
// buf would fetch these from its registry; printing them keeps generation
// offline and makes it impossible for the text to drift from the Go package.
package main

import (
	"log"
	"os"
	"strings"

	validate "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	openapi "github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv2/options"
	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var roots = []protoreflect.FileDescriptor{
	annotations.File_google_api_annotations_proto,
	annotations.File_google_api_field_behavior_proto,
	httpbody.File_google_api_httpbody_proto,
	openapi.File_protoc_gen_openapiv2_options_annotations_proto,
	validate.File_buf_validate_validate_proto,
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: vendorproto DIR")
	}
	var files []protoreflect.FileDescriptor
	seen := map[string]bool{}
	var walk func(protoreflect.FileDescriptor)
	walk = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] || strings.HasPrefix(f.Path(), "google/protobuf/") { // buf ships the well-known types
			return
		}
		seen[f.Path()] = true
		files = append(files, f)
		for i := range f.Imports().Len() {
			walk(f.Imports().Get(i).FileDescriptor)
		}
	}
	for _, f := range roots {
		walk(f)
	}
	if err := (&protoprint.Printer{}).PrintProtosToFileSystem(files, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}
