// Package rdbtest gives each test a Redis key space of its own.
package rdbtest

import (
	"context"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/manas360/platform/pkg/rdb"
)

// New answers a client of the Redis at MANAS_TEST_REDIS (host:port) and a key
// prefix that no other test has. Its keys are removed when the test ends.
func New(t testing.TB) (*redis.Client, string) {
	t.Helper()
	c := Config(t)
	client := rdb.Open(c)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) //nolint:forbidigo // the test's own context has ended
		defer cancel()
		it := client.Scan(ctx, 0, c.Prefix+"*", 500).Iterator()
		for it.Next(ctx) {
			if err := client.Del(ctx, it.Val()).Err(); err != nil {
				t.Errorf("remove %s: %v", it.Val(), err)
			}
		}
		if err := client.Close(); err != nil {
			t.Errorf("close Redis: %v", err)
		}
	})
	return client, c.Prefix
}

// Config is New's address and prefix, for code that opens Redis itself.
func Config(t testing.TB) rdb.Config {
	t.Helper()
	addr := os.Getenv("MANAS_TEST_REDIS") //nolint:forbidigo // tests have no other configuration
	if addr == "" {
		const why = "MANAS_TEST_REDIS is not set; `make test` starts a Redis and sets it"
		if os.Getenv("MANAS_TEST_REQUIRE") == "1" { //nolint:forbidigo // as above
			t.Fatal(why)
		}
		t.Skip(why)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatalf("MANAS_TEST_REDIS: %v", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatalf("MANAS_TEST_REDIS: %v", err)
	}
	return rdb.Config{Host: host, Port: n, Prefix: "t:" + uuid.NewString() + ":"}
}
