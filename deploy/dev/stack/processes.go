package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyLimit = 30 * time.Second
	drainLimit = 50 * time.Second // a service gives itself 45
)

// plan is where everything of one run listens.
type plan struct {
	at    map[string]Endpoint
	pg    *postgres
	redis *redis
}

func (s *Stack) choosePorts(ctx context.Context) (map[string]Endpoint, error) {
	free, err := FreePorts(ctx, 2*len(Services)+3)
	if err != nil {
		return nil, err
	}
	at := map[string]Endpoint{
		"gateway": {HTTP: s.Port, Ops: free[0]},
		"sandbox": {HTTP: s.SandboxPort},
	}
	at["witness"] = Endpoint{HTTP: free[1+2*len(Services)], Ops: free[2+2*len(Services)]}
	for i, svc := range Services {
		at[svc] = Endpoint{GRPC: free[1+2*i], Ops: free[2+2*i]}
	}
	return at, nil
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// environment is all that one process gets: its own settings and nothing of the others'.
func (s *Stack) environment(name string, p *plan) ([]string, error) {
	env, err := s.settings(name, p)
	if err == nil && s.Alter != nil {
		err = s.Alter(name, env)
	}
	if err != nil {
		return nil, err
	}
	return s.list(env), nil
}

func (s *Stack) settings(name string, p *plan) (map[string]string, error) {
	procs := "1"
	if name == "gateway" || name == "auth" {
		procs = "2" // they check every request and hash passwords
	}
	env := map[string]string{"GOMAXPROCS": procs, "GOGC": "200"}
	if name == "sandbox" {
		maps.Copy(env, s.sec.providerEnvironment())
		maps.Copy(env, map[string]string{
			"SANDBOX_PORT": strconv.Itoa(s.SandboxPort), "SANDBOX_DATA_DIR": s.path("sandbox"), "CALLBACK_BASE_URL": "http://" + local(s.Port),
			"PHONEPE_CLIENT_ID": s.sec.PhonePeClientID, "PHONEPE_CLIENT_SECRET": s.sec.PhonePeSecret,
			"PHONEPE_WEBHOOK_USERNAME": s.sec.Webhooks.PhonePe.Username, "PHONEPE_WEBHOOK_PASSWORD": s.sec.Webhooks.PhonePe.Password,
		})
		return env, nil
	}
	if name == "witness" { // it trusts nobody's certificate and needs no store
		maps.Copy(env, map[string]string{
			"NODE_ENV": "development", "OPS_ADDR": local(p.at[name].Ops), "WITNESS_ADDR": local(p.at[name].HTTP), "WITNESS_DATA_DIR": s.path("witness"),
			"AUDIT_PUBLIC_KEY_FILE": s.path("audit", "log.key.pub"),
		})
		return env, nil
	}
	maps.Copy(env, map[string]string{
		"NODE_ENV": "development", "OPS_ADDR": local(p.at[name].Ops), "REDIS_HOST": p.redis.host, "REDIS_PORT": strconv.Itoa(p.redis.port),
		"TLS_CERT_FILE": s.path("tls", name+".pem"), "TLS_KEY_FILE": s.path("tls", name+"-key.pem"), "TLS_CA_FILE": s.path("tls", "ca.pem"),
	})
	if !p.redis.ours {
		env["REDIS_PREFIX"] = "manas:" + s.sec.Stack + ":"
	}
	s.pass(env, "LOG_LEVEL", "INTERNAL_IP", "OTEL_EXPORTER_OTLP_ENDPOINT")
	for _, svc := range Services {
		env[strings.ToUpper(svc)+"_ADDR"] = local(p.at[svc].GRPC)
	}
	if name == "gateway" {
		env["PORT"] = strconv.Itoa(s.Port)
		env["ALLOWED_ORIGINS"] = s.origins()
		env["SPOOL_DIR"] = s.path("spool")
		s.pass(env, "TRUSTED_PROXIES", "ADMIN_NETWORKS", "TOKEN_ISSUER", "TOKEN_AUDIENCE")
		return env, nil
	}
	dsn, err := roleURL(p.pg.adminURL, name, s.sec.RolePassword[name])
	if err != nil {
		return nil, err
	}
	maps.Copy(env, map[string]string{"GRPC_ADDR": local(p.at[name].GRPC), "DATABASE_URL": dsn, "PAGE_TOKEN_SECRET": s.sec.PageToken[name]})
	s.pass(env, "DB_POOL_MIN", "DB_POOL_MAX")
	s.own(env, name, p)
	return env, nil
}

// own adds what only one service knows.
func (s *Stack) own(env map[string]string, name string, p *plan) {
	switch name {
	case "auth":
		env["JWT_SECRET"], env["JWT_REFRESH_SECRET"] = s.jwtSecrets()
		env["MESSAGES_DIR"], env["PUBLIC_URL"] = s.path("messages"), s.url()
		env["WEBAUTHN_ORIGINS"] = s.origins()
		if s.AllowedOrigins != "" {
			env["WEBAUTHN_ORIGINS"] += "," + s.url()
		}
		s.pass(env, "JWT_EXPIRY", "JWT_REFRESH_EXPIRY", "TERMS_VERSION", "PRIVACY_VERSION", "TOKEN_ISSUER", "TOKEN_AUDIENCE", "TOKEN_ALG", "KEY_ROTATION", "OTP_COUNTRIES", "OIDC_PROVIDERS")
	case "audit":
		env["AUDIT_DATA_DIR"], env["WITNESS_URL"] = s.path("audit"), "http://"+local(p.at["witness"].HTTP)
		env["WITNESS_PUBLIC_KEY_FILE"] = s.path("witness", "witness.key.pub")
	case "admin":
		s.pass(env, "TOKEN_ISSUER", "TOKEN_AUDIENCE")
	case "subscription":
		s.pass(env, "SUPPLIER_STATE", "SUPPLIER_GSTIN", "INVOICE_PREFIX")
	case "payment":
		bank := "http://" + local(s.SandboxPort)
		base := bank + "/apis/pg-sandbox"
		maps.Copy(env, s.sec.providerEnvironment())
		maps.Copy(env, map[string]string{
			"PHONEPE_V1_BASE_URL": base, "RAZORPAY_BASE_URL": bank + "/razorpay", "STRIPE_BASE_URL": bank,
			"PHONEPE_BASE_URL": base, "PHONEPE_OAUTH_URL": base + "/v1/oauth/token", "PHONEPE_CLIENT_VERSION": "1",
			"PHONEPE_CLIENT_ID": s.sec.PhonePeClientID, "PHONEPE_CLIENT_SECRET": s.sec.PhonePeSecret, "PHONEPE_MERCHANT_ID": s.sec.PhonePeClientID,
			"PHONEPE_WEBHOOK_USERNAME": s.sec.Webhooks.PhonePe.Username, "PHONEPE_WEBHOOK_PASSWORD": s.sec.Webhooks.PhonePe.Password,
			"SANDBOX_WEBHOOK_SECRET": s.sec.Webhooks.Sandbox, "PUBLIC_URL": s.url(),
			"SETTLEMENT_URL": "http://" + local(s.SandboxPort) + "/bank/settlement?date={date}&provider={provider}",
		})
	}
}

func (s *Stack) jwtSecrets() (access, refresh string) {
	access, refresh = s.sec.JWTSecret, s.sec.JWTRefreshSecret
	if v := s.Passed["JWT_SECRET"]; v != "" {
		access = v
	}
	if v := s.Passed["JWT_REFRESH_SECRET"]; v != "" {
		refresh = v
	}
	return access, refresh
}

func (s *Stack) url() string { return "http://localhost:" + strconv.Itoa(s.Port) }

func (s *Stack) origins() string {
	if s.AllowedOrigins != "" {
		return s.AllowedOrigins
	}
	return "http://localhost:3000,http://localhost:5173," + s.url()
}

func (s *Stack) pass(env map[string]string, names ...string) {
	for _, name := range names {
		if v := s.Passed[name]; v != "" {
			env[name] = v
		}
	}
}

func (s *Stack) list(env map[string]string) []string {
	out := slices.Clone(s.Base)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

// startProcesses starts all at once: each waits for its peers by itself.
func (s *Stack) startProcesses(ctx context.Context, p *plan) error {
	for _, name := range append(slices.Clone(Services), "witness", "sandbox", "gateway") {
		env, err := s.environment(name, p)
		if err != nil {
			return err
		}
		if _, err := s.kids.start(ctx, name, syscall.SysProcAttr{}, env, s.binary(program(name))); err != nil {
			return problem("%s does not start: %v", name, err)
		}
	}
	return nil
}

// program is the binary of a process.
func program(name string) string {
	switch name {
	case "sandbox":
		return name
	case "witness":
		return "auditwitness"
	default:
		return name + "d"
	}
}

// waitReady waits for the edge, which knows what it needs; a process that dies ends the wait.
func (s *Stack) waitReady(ctx context.Context, p *plan) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	over := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(over)
	wg.Go(func() {
		select {
		case c := <-s.kids.died:
			stop(died(c))
		case <-over:
		}
	})
	err := poll(ctx, readyLimit, func(ctx context.Context) error { return ready(ctx, s.Port) })
	if err == nil {
		err = poll(ctx, 5*time.Second, func(ctx context.Context) error {
			return get(ctx, "http://"+local(s.SandboxPort)+"/livez")
		})
	}
	if cause := context.Cause(ctx); cause != nil { // also of one that died when the edge had answered: nobody else is told
		return cause
	}
	if err != nil {
		return problem("not ready after %.0f s: %s (logs: %s)", readyLimit.Seconds(), s.failing(context.WithoutCancel(ctx), p, err), s.path("logs"))
	}
	return nil
}

func died(c *child) error {
	return problem("%s died: %v: %s (%s)", c.name, exitOf(c.err), lastLine(c.log), c.log)
}

func exitOf(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

func ready(ctx context.Context, port int) error { return get(ctx, "http://"+local(port)+"/readyz") }

// get wants 200; its error is what the other side said is failing.
func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode == http.StatusOK {
		return nil
	}
	var said struct {
		Failing []string `json:"failing"`
	}
	if json.Unmarshal(raw, &said) == nil && len(said.Failing) > 0 {
		return errors.New(strings.Join(said.Failing, ", "))
	}
	return errors.New(res.Status)
}

// failing asks every process itself: the edge may not know why a service is not ready.
func (s *Stack) failing(ctx context.Context, p *plan, edge error) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	all := []string{"gateway (" + firstLine(edge) + ")"}
	for _, svc := range Services {
		if err := get(ctx, "http://"+local(p.at[svc].Ops)+"/readyz"); err != nil {
			all = append(all, svc+" ("+firstLine(err)+")")
		}
	}
	return strings.Join(all, ", ")
}

// stopAll ends the edge first, so that nothing new comes in, and the stores last.
func (s *Stack) stopAll() {
	s.kids.stop(syscall.SIGTERM, drainLimit, "gateway")
	s.kids.stop(syscall.SIGTERM, drainLimit, Services...)
	s.kids.stop(syscall.SIGTERM, 10*time.Second, "sandbox", "witness")
	s.kids.stop(syscall.SIGTERM, 5*time.Second, "redis")
	s.kids.stop(syscall.SIGINT, 20*time.Second, "postgres") // fast shutdown: sessions are ended, data is flushed
}
