package boot

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/config"
)

// Base is what every process reads from its environment. A Config embeds it.
type Base struct {
	NodeEnv      string          `env:"NODE_ENV" envDefault:"development" desc:"development, test or production"`
	LogLevel     string          `env:"LOG_LEVEL" envDefault:"info" desc:"trace, debug, info, warn or error"`
	GRPCAddr     string          `env:"GRPC_ADDR" desc:"host:port of gRPC"`
	OpsAddr      string          `env:"OPS_ADDR" desc:"host:port of /livez, /readyz and /metrics; empty for none"`
	TLSCertFile  string          `env:"TLS_CERT_FILE" desc:"PEM certificate of this process"`
	TLSKeyFile   string          `env:"TLS_KEY_FILE" desc:"PEM key of this process"`
	TLSCAFile    string          `env:"TLS_CA_FILE" desc:"PEM authority every process trusts"`
	OTLPEndpoint string          `env:"OTEL_EXPORTER_OTLP_ENDPOINT" desc:"trace collector; empty exports nothing"`
	InternalIP   string          `env:"INTERNAL_IP" desc:"address of this host, for the log"`
	DrainDelay   config.Duration `env:"DRAIN_DELAY" desc:"still serving after SIGTERM; 0 is 5s in production, else 100ms"`
}

// Production reports whether real people's data is at stake.
func (b Base) Production() bool { return b.NodeEnv == "production" }

// Validate checks what can be checked without the network.
func (b Base) Validate() error {
	var errs []error
	switch b.NodeEnv {
	case "development", "test", "production":
	default:
		errs = append(errs, fmt.Errorf("NODE_ENV: %q is not development, test or production", b.NodeEnv))
	}
	if _, err := zerolog.ParseLevel(b.LogLevel); err != nil {
		errs = append(errs, fmt.Errorf("LOG_LEVEL: %q is not a level", b.LogLevel))
	}
	return errors.Join(errs...)
}

func (b Base) base() Base { return b }

func (b Base) drainDelay() time.Duration {
	switch {
	case b.DrainDelay > 0:
		return b.DrainDelay.Std()
	case b.Production():
		return 5 * time.Second
	default:
		return 100 * time.Millisecond
	}
}
