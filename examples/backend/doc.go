// Package backend is what the example backends share beside what they are for: the
// mutual TLS of a workload whose certificate somebody else renews, who a token says
// acts, and a log that a person reads.
//
// It is not a part of behalf, and no library: a team has its own ways to do these
// things. Of behalf it imports package calltoken, which is all that a backend needs.
//
//	tls, err := backend.TLS(backend.Files{Cert: "svid.pem", Key: "svid.key", CA: "ca.pem"})
//	log := backend.NewLog(os.Stdout, "crm")
//	log.InfoContext(ctx, "get_customer for "+backend.Who(claims))
//
// Everything may be used by many goroutines.
package backend
