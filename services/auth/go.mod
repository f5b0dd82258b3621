module github.com/manas360/platform/services/auth

go 1.26.0

require (
	github.com/manas360/platform/migrations v0.0.0
	github.com/manas360/platform/pkg v0.0.0
	github.com/manas360/platform/proto v0.0.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/pgx/v5 v5.12.0 // indirect
	github.com/redis/go-redis/v9 v9.23.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	rsc.io/qr v0.2.0 // indirect
)

replace (
	github.com/manas360/platform/migrations => ../../migrations
	github.com/manas360/platform/pkg => ../../pkg
	github.com/manas360/platform/proto => ../../proto
)
