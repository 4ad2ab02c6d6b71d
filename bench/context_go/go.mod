module dusk/bench/context_go

go 1.19
