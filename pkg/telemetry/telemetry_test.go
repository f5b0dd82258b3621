package telemetry_test

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"github.com/manas360/platform/pkg/telemetry"
)

func TestTraceCrossesProcessesWithoutCollector(t *testing.T) {
	stop, err := telemetry.Setup(t.Context(), telemetry.Config{Service: "demo", SampleAll: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := otel.Tracer("test").Start(t.Context(), "act")
	defer span.End()
	id := telemetry.TraceID(ctx)
	if len(id) != 32 {
		t.Fatalf("trace id: got %q", id)
	}
	carried := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, carried)
	there := otel.GetTextMapPropagator().Extract(context.Background(), carried)
	if got := telemetry.TraceID(there); got != id {
		t.Errorf("trace id in the other process: got %q, want %q", got, id)
	}
	if got := telemetry.TraceID(context.Background()); got != "" {
		t.Errorf("trace id of nothing: got %q", got)
	}
	if err := stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestDeadCollectorHurtsNobody(t *testing.T) {
	stop, err := telemetry.Setup(t.Context(), telemetry.Config{Service: "demo", Endpoint: "http://127.0.0.1:1", SampleAll: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatalf("Setup: %v", err)
	}
	_, span := otel.Tracer("test").Start(t.Context(), "act")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := stop(ctx); err == nil {
		t.Error("stop: got nil, want an error that the spans are lost")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stop took %s", took)
	}
}
