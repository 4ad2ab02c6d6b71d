//go:build go1.21

package main

import "context"

const afterIs = "context.AfterFunc"

func after(ctx context.Context, f func()) (stop func() bool) {
	return context.AfterFunc(ctx, f)
}
