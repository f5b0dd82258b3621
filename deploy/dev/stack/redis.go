package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// redis is a Redis the stack may use: its own, or somebody's.
type redis struct {
	host string
	port int
	ours bool
}

func (r *redis) addr() string { return net.JoinHostPort(r.host, strconv.Itoa(r.port)) }

func (s *Stack) startRedis(ctx context.Context) (*redis, error) {
	if s.RedisHost != "" {
		r := &redis{host: s.RedisHost, port: s.RedisPort}
		if r.port == 0 {
			r.port = 6379
		}
		if err := poll(ctx, 5*time.Second, r.ping); err != nil {
			return nil, problem("REDIS_HOST: %s does not answer: %s", r.addr(), firstLine(err))
		}
		return r, nil
	}
	r := &redis{host: "127.0.0.1", port: s.RedisPort, ours: true}
	if r.port == 0 {
		free, err := FreePorts(ctx, 1)
		if err != nil {
			return nil, err
		}
		r.port = free[0]
	}
	program, args := s.redisProgram(ctx, r.port)
	kid, err := s.kids.start(ctx, "redis", syscall.SysProcAttr{}, s.Base, program, args...)
	if err != nil {
		return nil, err
	}
	if err := poll(ctx, 20*time.Second, r.ping); err != nil {
		return nil, problem("Redis does not start: %s (%s)", lastLine(kid.log), kid.log)
	}
	return r, nil
}

// redisProgram is a real server when there is one or one can be had, else miniredis in a process of its own.
func (s *Stack) redisProgram(ctx context.Context, port int) (string, []string) {
	args := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.path("redis"), "--daemonize", "no"}
	server := func() string {
		for _, name := range []string{"redis-server", "valkey-server"} {
			if p, err := exec.LookPath(name); err == nil {
				return p
			}
		}
		return ""
	}
	if s.UseRedis != "mini" {
		if p := server(); p != "" && s.UseRedis != "apt" {
			return p, args
		}
		if s.UseRedis != "system" && s.apt(ctx, "redis-server") == nil {
			if p := server(); p != "" {
				return p, args
			}
		}
	}
	s.say("redis     miniredis: no redis-server or valkey-server here (development only)")
	return s.Self, []string{"miniredis", "-addr", "127.0.0.1:" + strconv.Itoa(port)}
}

// ping speaks just enough of the protocol to know that it is a Redis that answers.
func (r *redis) ping(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", r.addr())
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer func() { _ = c.Close() }() // the answer is what matters
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return fmt.Errorf("set the deadline: %w", err)
		}
	}
	if _, err := c.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if !strings.HasPrefix(line, "+PONG") {
		return errors.New("ping: " + strings.TrimSpace(line))
	}
	return nil
}

// Miniredis serves an in-memory Redis until ctx ends. Its keys expire by the clock, as a real one's do.
func Miniredis(ctx context.Context, addr string) error {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	if err := m.StartAddr(addr); err != nil {
		return problem("miniredis: %v", err)
	}
	<-ctx.Done()
	m.Close()
	return nil
}
