// Package modeltest is a scripted OpenAI-compatible server for tests, examples
// and benchmarks. It is not a model and checks nothing: it answers each request
// for a model name with the next reply of that name's queue, or with the one
// that always answers, exactly as the Reply says: streamed, split, slow, cut,
// refused or broken.
//
//	s := modeltest.NewServer(t)
//	s.Queue("gpt", modeltest.Reply{Calls: []agents.CallRequest{{ID: "c1", Tool: "get_customer", Arguments: `{}`}}},
//		modeltest.Reply{Text: "Ada is a gold customer."})
//	m, err := model.NewOpenAI(model.OpenAIConfig{BaseURL: s.URL, Model: "gpt"})
//
// A Server may be used by many goroutines. Replies of one queue are given in
// the order in which requests arrive.
package modeltest
