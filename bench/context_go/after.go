//go:build !go1.21

package main

import "context"

const afterIs = "a goroutine for each waiter"

// What one writes where context.AfterFunc doesn't exist.
func after(ctx context.Context, f func()) (stop func() bool) {
	quit := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			f()
		case <-quit:
		}
	}()
	return func() bool {
		select {
		case quit <- struct{}{}:
			return true
		case <-ctx.Done():
			return false
		}
	}
}
