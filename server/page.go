package server

import (
	"encoding/base64"
	"slices"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// pageDefault is the size of a page when the request names none (AIP-158).
const pageDefault = 50

// page cuts the part of a sorted list that a request asks for. The token is the
// name of the last item before it, so that a list that changes meanwhile
// neither repeats nor skips what stayed.
func page[T any](list []T, size int32, token string, name func(T) string) (part []T, next string, err error) {
	after, err := cursor(token)
	if err != nil {
		return nil, "", err
	}
	start := 0
	if after != "" {
		start = max(0, slices.IndexFunc(list, func(t T) bool { return name(t) > after }))
		if len(list) == 0 || name(list[len(list)-1]) <= after {
			start = len(list)
		}
	}
	end := min(len(list), start+pageSize(size))
	if end < len(list) {
		next = token64(name(list[end-1]))
	}
	return list[start:end], next, nil
}

func pageSize(size int32) int {
	if size == 0 {
		return pageDefault
	}
	return int(size)
}

func token64(s string) string {
	if s == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(s))
}

func cursor(token string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", fault.New(codes.InvalidArgument, fault.ArgumentInvalid, "page_token is not one that this server gave; start again without it").
			WithFields(fault.Field{Path: "page_token", Problem: "unknown token"})
	}
	return string(b), nil
}
