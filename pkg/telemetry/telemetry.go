// Package telemetry sets up traces and metrics once per process. Without an
// endpoint nothing is exported, yet W3C trace context still crosses processes
// and every log line has a real trace id.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says where traces go. An Endpoint is "host:port" or a URL; empty
// exports nothing. SampleAll keeps every trace instead of one in ten.
type Config struct {
	Service   string
	Endpoint  string
	SampleAll bool
	Log       zerolog.Logger
}

const (
	sampled    = 0.1
	queueSpans = 2048            // then spans are dropped, never requests
	export     = 5 * time.Second // for one batch
)

// Setup installs the global tracer provider and propagator. The function it
// gives flushes and stops; it may be called once. A dead collector costs spans,
// never an error here.
func Setup(ctx context.Context, c Config) (stop func(context.Context) error, err error) {
	sampler := sdktrace.ParentBased(sdktrace.TraceIDRatioBased(sampled))
	if c.SampleAll {
		sampler = sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithSampler(sampler),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", c.Service))),
	}
	if c.Endpoint != "" {
		exporter, err := otlptracegrpc.New(ctx, endpoint(c.Endpoint)...)
		if err != nil {
			return nil, fmt.Errorf("make trace exporter: %w", err)
		}
		options = append(options, sdktrace.WithBatcher(exporter,
			sdktrace.WithMaxQueueSize(queueSpans), sdktrace.WithExportTimeout(export)))
	}
	provider := sdktrace.NewTracerProvider(options...)
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	log := c.Log.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Minute}) // a dead collector says so every few seconds
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn().Err(err).Msg("telemetry export failed")
	}))
	return func(ctx context.Context) error {
		return errors.Join(provider.ForceFlush(ctx), provider.Shutdown(ctx))
	}, nil
}

func endpoint(s string) []otlptracegrpc.Option {
	if strings.Contains(s, "://") {
		return []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(s)}
	}
	return []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(s), otlptracegrpc.WithInsecure()}
}

// NewRegistry makes a Prometheus registry that already has the Go runtime's and
// the process's own figures.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// TraceID gives the trace id of ctx, "" when there is none.
func TraceID(ctx context.Context) string {
	if s := trace.SpanContextFromContext(ctx); s.HasTraceID() {
		return s.TraceID().String()
	}
	return ""
}
