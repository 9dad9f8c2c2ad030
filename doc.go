// Package behalf is the wiring, top to bottom: it maps each section of the
// config to the package that it belongs to and runs what comes of it.
//
// New checks everything and starts nothing but the listeners; Server.Run blocks
// until its context ends and stops the parts from the top to the bottom: the
// server says NOT_SERVING and finishes its calls, runs stop at their next event,
// the audit log drains, the store closes.
//
// This is also where a program of your own begins:
//
//	cfg, err := config.Load("behalf.yaml", os.LookupEnv)
//	s, err := behalf.New(ctx, cfg, behalf.WithTools("crm", crm.Tools()...))
//	err = s.Run(ctx)
//
// It is not a place for logic: what can be decided below is decided below. Only
// this package imports store and config.
package behalf
