// What do the operations of Go's context cost? The counterpart of
// bench/context.c: same names, same arguments, same output, but the CPU time is
// that of the process, the collector's included.
//
// Usage: context_go OPERATION alone|apart|shared|bytes MS, or "version".
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	warmUp    = 10000
	batchTime = time.Millisecond
	children  = 10000
	made      = 100000
	timeout   = time.Minute
)

// What an operation works on.
type world struct {
	ctx     context.Context
	cancel  context.CancelFunc
	cancels []context.CancelFunc
	oldest  int
}

type op struct {
	setup  func(w *world, size int)
	size   int
	run    func(w *world, times int)
	before func(w *world) // children at a time; not counted
	make   func(w *world) any
}

type key struct{ number int }

var (
	keys  [2]key
	sink  any
	zeros int
)

// -- Worlds

func parents(w *world, depth int) {
	for i := 0; i < depth; i++ {
		w.ctx, w.cancel = context.WithCancel(w.ctx)
	}
}

func endedParents(w *world, depth int) {
	parents(w, depth)
	w.cancel()
}

func timed(w *world, depth int) {
	for i := 0; i < depth; i++ {
		w.ctx, w.cancel = context.WithTimeout(w.ctx, timeout)
	}
}

func layers(w *world, depth int) {
	for i := 0; i < depth; i++ {
		w.ctx = context.WithValue(w.ctx, &keys[min(i, 1)], &keys)
	}
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

// Deadlines in no order, half of them before those that are yet to come.
func live(w *world, count int) {
	w.cancels = make([]context.CancelFunc, count)
	for i := range w.cancels {
		mixed := time.Duration(i*7919%60000) * time.Millisecond
		_, w.cancels[i] = context.WithTimeout(w.ctx, timeout/2+mixed)
	}
}

// -- Operations

func runClock(w *world, times int) {
	for i := 0; i < times; i++ {
		if time.Since(start) == 0 {
			zeros++
		}
	}
}

func runCancel(w *world, times int) {
	for i := 0; i < times; i++ {
		_, cancel := context.WithCancel(w.ctx)
		cancel()
	}
}

func runTimeout(w *world, times int) {
	for i := 0; i < times; i++ {
		_, cancel := context.WithTimeout(w.ctx, timeout)
		cancel()
	}
}

func runReplace(w *world, times int) {
	for i := 0; i < times; i++ {
		oldest := &w.cancels[w.oldest%made]
		w.oldest++
		(*oldest)()
		_, *oldest = context.WithTimeout(w.ctx, timeout)
	}
}

func runErr(w *world, times int) {
	sum := 0
	for i := 0; i < times; i++ {
		if w.ctx.Err() != nil {
			sum++
		}
	}
	if sum != 0 && sum != times {
		panic("it ended in between")
	}
}

func runValue(w *world, times int) {
	for i := 0; i < times; i++ {
		if w.ctx.Value(&keys[0]) == nil {
			panic("no value")
		}
	}
}

func runLayer(w *world, times int) {
	var last context.Context
	for i := 0; i < times; i++ {
		last = context.WithValue(w.ctx, &keys[0], &keys)
	}
	sink = last
}

func never() { panic("called") }

func runWaiter(w *world, times int) {
	for i := 0; i < times; i++ {
		if !after(w.ctx, never)() {
			panic("not stopped")
		}
	}
}

// The garbage that making leaves is not the cancel's.
func makeChildren(w *world) {
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for i := 0; i < children; i++ {
		context.WithCancel(w.ctx)
	}
	runtime.GC()
}

func runChildren(w *world, times int) { w.cancel() }

func makeCancel(w *world) any {
	ctx, _ := context.WithCancel(w.ctx)
	return ctx
}

func makeTimeout(w *world) any {
	ctx, _ := context.WithTimeout(w.ctx, timeout)
	return ctx
}

func makeLayer(w *world) any {
	return context.WithValue(w.ctx, &keys[0], &keys)
}

func makeWaiter(w *world) any { return after(w.ctx, never) }

var start = time.Now()

var ops = map[string]op{
	"hrtime":          {setup: parents, run: runClock},
	"cancel":          {setup: parents, run: runCancel, make: makeCancel},
	"cancel-child":    {setup: parents, size: 1, run: runCancel},
	"timeout":         {setup: parents, run: runTimeout, make: makeTimeout},
	"timeout-child":   {setup: parents, size: 1, run: runTimeout},
	"timeout-chain":   {setup: parents, size: 10, run: runTimeout},
	"timeout-live":    {setup: live, size: made, run: runTimeout},
	"timeout-replace": {setup: live, size: made, run: runReplace},
	"err-live":        {setup: parents, size: 1, run: runErr},
	"err-deadline":    {setup: timed, size: 1, run: runErr},
	"err-ended":       {setup: endedParents, size: 1, run: runErr},
	"value-1":         {setup: layers, size: 1, run: runValue},
	"value-10":        {setup: layers, size: 10, run: runValue},
	"value-100":       {setup: layers, size: 100, run: runValue},
	"layer":           {setup: parents, size: 1, run: runLayer, make: makeLayer},
	"waiter":          {setup: parents, size: 1, run: runWaiter, make: makeWaiter},
	"children":        {setup: parents, run: runChildren, before: makeChildren},
}

// -- Measuring

type spent struct {
	wall, cpu time.Duration
	times     int
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func (s *spent) measured(o op, w *world, times int) {
	cpu, wall := cpuTime(), time.Now()
	o.run(w, times)
	s.wall += time.Since(wall)
	s.cpu += cpuTime() - cpu
	s.times += times
}

func findBatch(o op, w *world) int {
	if o.before != nil {
		return children
	}
	o.run(w, warmUp)
	times := 1
	// Thrice, lest another program's turn be taken for ours.
	for enough := 0; enough < 3; {
		from := time.Now()
		o.run(w, times)
		if time.Since(from) >= batchTime {
			enough++
		} else {
			times *= 2
		}
	}
	return times
}

// Works in a world that is made, or in one of its own.
func work(o op, w *world, forTime time.Duration, ready func()) (s spent) {
	if w == nil {
		w = newWorld(o)
	}
	batch := findBatch(o, w)
	ready()
	for s.wall < forTime {
		if o.before != nil {
			o.before(w)
		}
		s.measured(o, w, batch)
	}
	return s
}

func newWorld(o op) *world {
	w := &world{ctx: context.Background()}
	o.setup(w, o.size)
	return w
}

func two(o op, w *world, forTime time.Duration) (wall, cpu float64) {
	var ready, done sync.WaitGroup
	ready.Add(2)
	done.Add(2)
	var results [2]spent
	for i := range results {
		go func(s *spent) {
			*s = work(o, w, forTime, func() { ready.Done(); ready.Wait() })
			done.Done()
		}(&results[i])
	}
	done.Wait()
	for _, s := range results {
		wall += float64(s.wall) / float64(s.times) / 2
		cpu += float64(s.cpu) / float64(s.times) / 2
	}
	return wall, cpu
}

func inUse() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc + stats.StackInuse
}

func bytesEach(o op) float64 {
	w := newWorld(o)
	kept := make([]any, made)
	before := inUse()
	for i := range kept {
		kept[i] = o.make(w)
	}
	after := inUse()
	runtime.KeepAlive(kept)
	return float64(after-before) / made
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Printf("%s with %s\n", runtime.Version(), afterIs)
		return
	}
	o, known := ops[os.Args[1]]
	ms, err := strconv.Atoi(os.Args[3])
	if !known || err != nil {
		panic("usage: context_go OPERATION SETTING MS")
	}
	forTime := time.Duration(ms) * time.Millisecond
	var wall, cpu float64
	switch os.Args[2] {
	case "alone":
		s := work(o, nil, forTime, func() {})
		wall = float64(s.wall) / float64(s.times)
		cpu = float64(s.cpu) / float64(s.times)
	case "apart":
		wall, cpu = two(o, nil, forTime)
	case "shared":
		wall, cpu = two(o, newWorld(o), forTime)
	case "bytes":
		wall = bytesEach(o)
	}
	fmt.Printf("%.3f %.3f\n", wall, cpu)
}
