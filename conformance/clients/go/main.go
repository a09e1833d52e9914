// franz-go's view of a broker: the cases that conformance/README.md lists, with the same
// commands and the same lines of output as every other client here.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 60 * time.Second

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: franz cases|load|copy|drain BOOTSTRAP ...")
		os.Exit(2)
	}
	command, bootstrap, rest := os.Args[1], os.Args[2], os.Args[3:]
	switch command {
	case "cases":
		runCases(bootstrap, rest[0])
	case "load":
		seconds, err := strconv.ParseFloat(rest[1], 64)
		must(err)
		must(load(bootstrap, rest[0], time.Duration(seconds*float64(time.Second))))
	case "copy":
		must(copyTopic(bootstrap, rest[0], rest[1], len(rest) > 2 && rest[2] == "consumer"))
	case "drain":
		count, err := strconv.Atoi(rest[1])
		must(err)
		must(drain(bootstrap, rest[0], count))
	default:
		fmt.Fprintln(os.Stderr, "no command", command)
		os.Exit(2)
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runCases(bootstrap, prefix string) {
	report := func(name string, run func() error) {
		if err := run(); err != nil {
			fmt.Printf("not ok %s: %s\n", name, strings.Join(strings.Fields(err.Error()), " "))
			return
		}
		fmt.Println("ok", name)
	}
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		report("round trip, "+name, func() error {
			return roundTrip(bootstrap, prefix+"-round-trip-"+name, codec)
		})
	}
	report("group rebalances while members come and go", func() error {
		return groupRebalances(bootstrap, prefix+"-group")
	})
	report("commit and resume", func() error { return commitAndResume(bootstrap, prefix+"-commit") })
	report("admin calls", func() error { return adminCalls(bootstrap, prefix+"-admin") })
}

func client(bootstrap string, options ...kgo.Opt) (*kgo.Client, error) {
	base := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RetryTimeout(patience),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMinAge(50 * time.Millisecond),
	}
	return kgo.NewClient(append(base, options...)...)
}

func createTopic(c *kgo.Client, topic string, partitions int32, configs map[string]*string) error {
	answer, err := kadm.NewClient(c).CreateTopic(context.Background(), partitions, 1, configs, topic)
	if err != nil {
		return err
	}
	return answer.Err
}

func until(what string, condition func() (bool, error)) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if done, err := condition(); err != nil || done {
			return err
		}
	}
	return fmt.Errorf("not seen within %v: %s", patience, what)
}

func roundTrip(bootstrap, topic string, codec kgo.CompressionCodec) error {
	c, err := client(bootstrap, kgo.ProducerBatchCompression(codec), kgo.ConsumeTopics(topic))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := createTopic(c, topic, 3, nil); err != nil {
		return err
	}
	var sent []*kgo.Record
	for n := range 300 {
		record := &kgo.Record{
			Topic: topic, Partition: int32(n % 3), Timestamp: time.UnixMilli(1_700_000_000_000 + int64(n)),
			Value: bytes.Repeat([]byte(fmt.Sprintf("value %d ", n)), 1+n%40),
		}
		if n%50 == 7 {
			record.Value = nil
		}
		if n%3 != 0 {
			record.Key = []byte(fmt.Sprintf("key-%d", n))
		}
		if n%5 == 0 {
			record.Headers = []kgo.RecordHeader{
				{Key: "trace", Value: []byte{0, 255}}, {Key: "trace", Value: []byte("again")}, {Key: "empty", Value: []byte{}},
			}
		}
		sent = append(sent, record)
	}
	if err := c.ProduceSync(context.Background(), sent...).FirstErr(); err != nil {
		return err
	}
	got, err := readCount(c, len(sent))
	if err != nil {
		return err
	}
	byPlace := map[string]*kgo.Record{}
	for _, r := range got {
		byPlace[fmt.Sprint(r.Partition, "/", r.Offset)] = r
	}
	for _, r := range sent {
		back := byPlace[fmt.Sprint(r.Partition, "/", r.Offset)]
		if back == nil {
			return fmt.Errorf("nothing came back from %d/%d", r.Partition, r.Offset)
		}
		if !bytes.Equal(back.Value, r.Value) || (back.Value == nil) != (r.Value == nil) ||
			!bytes.Equal(back.Key, r.Key) || (back.Key == nil) != (r.Key == nil) ||
			!back.Timestamp.Equal(r.Timestamp) || len(back.Headers) != len(r.Headers) {
			return fmt.Errorf("sent %v, got %v", r, back)
		}
		for i := range r.Headers {
			if back.Headers[i].Key != r.Headers[i].Key || !bytes.Equal(back.Headers[i].Value, r.Headers[i].Value) {
				return fmt.Errorf("header %d of %v is %v", i, r, back.Headers[i])
			}
		}
	}
	return nil
}

func readCount(c *kgo.Client, count int) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var got []*kgo.Record
	for len(got) < count {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d records of %d: %w", len(got), count, err)
		}
		got = append(got, fetches.Records()...)
	}
	if len(got) != count {
		return nil, fmt.Errorf("read %d records of %d", len(got), count)
	}
	return got, nil
}

// member is a group member that polls and commits until it is told to leave.
type member struct {
	client *kgo.Client
	mutex  sync.Mutex
	values map[string]bool
	owned  map[int32]bool
	done   chan struct{}
	cancel context.CancelFunc
}

func join(bootstrap, group, topic string) (*member, error) {
	m := &member{values: map[string]bool{}, owned: map[int32]bool{}, done: make(chan struct{})}
	change := func(owned bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			for _, p := range partitions[topic] {
				if owned {
					m.owned[p] = true
				} else {
					delete(m.owned, p)
				}
			}
		}
	}
	var err error
	m.client, err = client(bootstrap, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.DisableAutoCommit(), kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(200*time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			fetches := m.client.PollFetches(ctx)
			m.mutex.Lock()
			for _, r := range fetches.Records() {
				m.values[string(r.Value)] = true
			}
			m.mutex.Unlock()
			_ = m.client.CommitUncommittedOffsets(ctx) // a rebalance may overtake it: the next one covers it
		}
	}()
	return m, nil
}

func (m *member) leave() {
	m.cancel()
	<-m.done
	m.client.Close()
}

func groupRebalances(bootstrap, topic string) error {
	producer, err := client(bootstrap)
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := createTopic(producer, topic, 4, nil); err != nil {
		return err
	}
	send := func(first int) error {
		var records []*kgo.Record
		for n := first; n < first+200; n++ {
			records = append(records, &kgo.Record{Topic: topic, Partition: int32(n % 4), Value: []byte(strconv.Itoa(n))})
		}
		return producer.ProduceSync(context.Background(), records...).FirstErr()
	}
	share := func(members ...*member) func() (bool, error) {
		return func() (bool, error) {
			for _, m := range members {
				m.mutex.Lock()
				owned := len(m.owned)
				m.mutex.Unlock()
				if owned != 4/len(members) {
					return false, nil
				}
			}
			return true, nil
		}
	}
	read := func(end int, members ...*member) func() (bool, error) {
		return func() (bool, error) {
			for n := range end {
				found := false
				for _, m := range members {
					m.mutex.Lock()
					found = found || m.values[strconv.Itoa(n)]
					m.mutex.Unlock()
				}
				if !found {
					return false, nil
				}
			}
			return true, nil
		}
	}
	first, err := join(bootstrap, topic+"-group", topic)
	if err != nil {
		return err
	}
	if err := until("the first member owns all", share(first)); err != nil {
		return err
	}
	if err := send(0); err != nil {
		return err
	}
	if err := until("the first member reads all", read(200, first)); err != nil {
		return err
	}
	second, err := join(bootstrap, topic+"-group", topic)
	if err != nil {
		return err
	}
	if err := until("two members share", share(first, second)); err != nil {
		return err
	}
	if err := send(200); err != nil {
		return err
	}
	if err := until("both read all", read(400, first, second)); err != nil {
		return err
	}
	first.leave()
	if err := until("the second member owns all", share(second)); err != nil {
		return err
	}
	if err := send(400); err != nil {
		return err
	}
	if err := until("the second member reads all", read(600, first, second)); err != nil {
		return err
	}
	second.leave()
	return nil
}

func commitAndResume(bootstrap, topic string) error {
	producer, err := client(bootstrap)
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := createTopic(producer, topic, 1, nil); err != nil {
		return err
	}
	group := topic + "-group"
	round := func(first, end int) error {
		var records []*kgo.Record
		for n := first; n < end; n++ {
			records = append(records, &kgo.Record{Topic: topic, Value: []byte(strconv.Itoa(n))})
		}
		if err := producer.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
			return err
		}
		c, err := client(bootstrap, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit())
		if err != nil {
			return err
		}
		defer c.Close()
		got, err := readCount(c, end-first)
		if err != nil {
			return err
		}
		for i, r := range got {
			if string(r.Value) != strconv.Itoa(first+i) {
				return fmt.Errorf("record %d is %s", first+i, r.Value)
			}
		}
		return c.CommitUncommittedOffsets(context.Background())
	}
	if err := round(0, 100); err != nil {
		return err
	}
	if err := round(100, 150); err != nil {
		return err
	}
	admin := kadm.NewClient(producer)
	offsets, err := admin.FetchOffsets(context.Background(), group)
	if err != nil {
		return err
	}
	if committed, found := offsets.Lookup(topic, 0); !found || committed.At != 150 {
		return fmt.Errorf("committed: %v", committed)
	}
	return until("the group is deleted", func() (bool, error) {
		answer, err := admin.DeleteGroup(context.Background(), group)
		if err != nil && err != kerr.NonEmptyGroup && answer.Err != kerr.NonEmptyGroup {
			return false, err
		}
		return err == nil, nil
	})
}

func adminCalls(bootstrap, topic string) error {
	c, err := client(bootstrap)
	if err != nil {
		return err
	}
	defer c.Close()
	admin, ctx := kadm.NewClient(c), context.Background()
	if err := createTopic(c, topic, 2, map[string]*string{"retention.ms": kadm.StringPtr("123456789")}); err != nil {
		return err
	}
	if err := createTopic(c, topic, 2, nil); err != kerr.TopicAlreadyExists {
		return fmt.Errorf("created twice: %v", err)
	}
	configured := func(want string) func() (bool, error) {
		return func() (bool, error) {
			configs, err := admin.DescribeTopicConfigs(ctx, topic)
			if err != nil {
				return false, err
			}
			for _, entry := range configs[0].Configs {
				if entry.Key == "retention.ms" {
					return entry.MaybeValue() == want, nil
				}
			}
			return false, fmt.Errorf("no retention.ms among %d settings", len(configs[0].Configs))
		}
	}
	if err := until("the created setting", configured("123456789")); err != nil {
		return err
	}
	alter := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("987654321")}}
	if _, err := admin.AlterTopicConfigs(ctx, alter, topic); err != nil {
		return err
	}
	if err := until("the altered setting", configured("987654321")); err != nil {
		return err
	}
	if answer, err := admin.UpdatePartitions(ctx, 5, topic); err != nil || answer.Error() != nil {
		return fmt.Errorf("create partitions: %v %v", err, answer.Error())
	}
	if err := until("five partitions", func() (bool, error) {
		topics, err := admin.ListTopics(ctx, topic)
		return err == nil && len(topics[topic].Partitions) == 5, err
	}); err != nil {
		return err
	}
	var records []*kgo.Record
	for n := range 20 {
		records = append(records, &kgo.Record{Topic: topic, Partition: 1, Value: []byte(strconv.Itoa(n))})
	}
	if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	var cut kadm.Offsets
	cut.Add(kadm.Offset{Topic: topic, Partition: 1, At: 7})
	if answer, err := admin.DeleteRecords(ctx, cut); err != nil || answer.Error() != nil {
		return fmt.Errorf("delete records: %v %v", err, answer.Error())
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	if start, _ := starts.Lookup(topic, 1); start.Offset != 7 {
		return fmt.Errorf("the log starts at %d", start.Offset)
	}
	if answer, err := admin.DeleteTopics(ctx, topic); err != nil || answer.Error() != nil {
		return fmt.Errorf("delete: %v %v", err, answer.Error())
	}
	return until("the topic is gone", func() (bool, error) {
		topics, err := admin.ListTopics(ctx)
		return err == nil && !topics.Has(topic), err
	})
}

func load(bootstrap, topic string, length time.Duration) error {
	c, err := client(bootstrap, kgo.ProducerBatchCompression(kgo.SnappyCompression()))
	if err != nil {
		return err
	}
	defer c.Close()
	for number, end := 0, time.Now().Add(length); time.Now().Before(end); number += 50 {
		var records []*kgo.Record
		for n := number; n < number+50; n++ {
			records = append(records, &kgo.Record{Topic: topic, Partition: int32(n % 3), Value: []byte(strconv.Itoa(n))})
		}
		results := c.ProduceSync(context.Background(), records...)
		if err := results.FirstErr(); err != nil {
			return err
		}
		sort.Slice(records, func(i, j int) bool { return records[i].Offset < records[j].Offset })
		for _, r := range records {
			fmt.Println("acked", r.Partition, r.Offset, string(r.Value))
		}
	}
	return nil
}

// copyTopic copies a topic in transactions, every fifth of which is aborted and done again.
func copyTopic(bootstrap, from, to string, consumerProtocol bool) error {
	group := "copy-" + to
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.TransactionalID(group),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(from),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets(),
		kgo.SessionTimeout(10*time.Second),
	}
	if consumerProtocol {
		options = append(options, kgo.ServerSideBalancer())
	}
	session, err := kgo.NewGroupTransactSession(options...)
	if err != nil {
		return err
	}
	defer session.Close()
	admin := kadm.NewClient(session.Client())
	number := 1
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		fetches := session.PollFetches(ctx)
		cancel()
		records := fetches.Records()
		if len(records) == 0 {
			if isCopied(admin, group, from) {
				fmt.Println("copied")
				return nil
			}
			continue
		}
		if err := session.Begin(); err != nil {
			return err
		}
		first := kgo.AbortingFirstErrPromise(session.Client())
		for _, r := range records {
			session.Produce(context.Background(), &kgo.Record{Topic: to, Value: r.Value}, first.Promise())
		}
		commit := first.Err() == nil && number%5 != 0
		number++
		if _, err := session.End(context.Background(), kgo.TransactionEndTry(commit)); err != nil {
			return err
		}
	}
	return fmt.Errorf("the topic is not copied in time")
}

func isCopied(admin *kadm.Client, group, topic string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	committed, err := admin.FetchOffsets(ctx, group)
	if err != nil {
		return false
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil || ends.Error() != nil {
		return false
	}
	all := true
	ends.Each(func(end kadm.ListedOffset) {
		at, _ := committed.Lookup(topic, end.Partition)
		all = all && max(at.At, 0) == end.Offset
	})
	return all
}

func drain(bootstrap, topic string, count int) error {
	c, err := client(bootstrap, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	defer c.Close()
	seen := 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		fetches := c.PollFetches(ctx)
		cancel()
		records := fetches.Records()
		for _, r := range records {
			fmt.Println("read", r.Partition, r.Offset, string(r.Value))
		}
		seen += len(records)
		if len(records) == 0 && seen >= count {
			return nil
		}
	}
	return fmt.Errorf("read %d records of %d", seen, count)
}
