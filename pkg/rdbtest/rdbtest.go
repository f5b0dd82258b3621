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
func New(tb testing.TB) (*redis.Client, string) {
	tb.Helper()
	c := Config(tb)
	client := rdb.Open(c)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) //nolint:forbidigo // the test's own context has ended
		defer cancel()
		it := client.Scan(ctx, 0, c.Prefix+"*", 500).Iterator()
		for it.Next(ctx) {
			if err := client.Del(ctx, it.Val()).Err(); err != nil {
				tb.Errorf("remove %s: %v", it.Val(), err)
			}
		}
		if err := it.Err(); err != nil {
			tb.Errorf("list the keys: %v", err)
		}
		if err := client.Close(); err != nil {
			tb.Errorf("close Redis: %v", err)
		}
	})
	return client, c.Prefix
}

// Config is New's address and prefix, for code that opens Redis itself.
func Config(tb testing.TB) rdb.Config {
	tb.Helper()
	addr := os.Getenv("MANAS_TEST_REDIS") //nolint:forbidigo // tests have no other configuration
	if addr == "" {
		const why = "MANAS_TEST_REDIS is not set; `make test` starts a Redis and sets it"
		if os.Getenv("MANAS_TEST_REQUIRE") == "1" { //nolint:forbidigo // as above
			tb.Fatal(why)
		}
		tb.Skip(why)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		tb.Fatalf("MANAS_TEST_REDIS: %v", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		tb.Fatalf("MANAS_TEST_REDIS: %v", err)
	}
	return rdb.Config{Host: host, Port: n, Prefix: "t:" + uuid.NewString() + ":"}
}
