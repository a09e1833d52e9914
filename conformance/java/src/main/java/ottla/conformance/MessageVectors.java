package ottla.conformance;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Random;
import java.util.TreeMap;
import java.util.jar.JarFile;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Struct;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * Apache Kafka's own message classes, as judges of bytes.
 *
 * <pre>
 * MessageVectors write SEED ROUNDS FILE   random messages, ROUNDS of every version, as bytes
 * MessageVectors check FILE               reads each message, writes it again, compares
 * MessageVectors cross SEED ROUNDS FILE   random messages, each written in another version too
 * </pre>
 *
 * A file holds one entry after another: the message's name (two bytes of length, then UTF-8), its
 * version (two bytes), the number of bytes (four) and the bytes. In a file of crossings each entry
 * is followed by another, of the same message in another version; where the classes refuse to
 * write it, its number of bytes is -1.
 */
public final class MessageVectors {
    private static final String[] PIECES = {"a", "Z", "0", "-", ".", "\u00e9", "\u65e5", "\ud83e\udd80"};

    private final Random random;
    private int depth;

    private MessageVectors(long seed) {
        this.random = new Random(seed);
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Class<? extends Message>> classes = messageClasses();
        if (arguments.length == 4 && arguments[0].equals("write")) {
            long seed = Long.parseLong(arguments[1]);
            write(classes, seed, Integer.parseInt(arguments[2]), Path.of(arguments[3]));
        } else if (arguments.length == 4 && arguments[0].equals("cross")) {
            long seed = Long.parseLong(arguments[1]);
            cross(classes, seed, Integer.parseInt(arguments[2]), Path.of(arguments[3]));
        } else if (arguments.length == 2 && arguments[0].equals("check")) {
            System.exit(check(classes, Path.of(arguments[1])) ? 0 : 1);
        } else {
            System.err.println("write SEED ROUNDS FILE | check FILE | cross SEED ROUNDS FILE");
            System.exit(2);
        }
    }

    /** Every class on the class path that was made from a message definition, by the message's name. */
    private static Map<String, Class<? extends Message>> messageClasses() throws IOException {
        Map<String, Class<? extends Message>> classes = new TreeMap<>();
        for (String place : System.getProperty("java.class.path").split(File.pathSeparator)) {
            String jar = new File(place).getName();
            if (!jar.startsWith("kafka") || !jar.endsWith(".jar")) {
                continue;
            }
            try (JarFile file = new JarFile(place)) {
                file.stream()
                    .map(entry -> entry.getName())
                    .filter(name -> name.matches(".*/(message|metadata|generated)/[A-Za-z]+\\.class"))
                    .forEach(name -> addMessageClass(classes, name));
            }
        }
        return classes;
    }

    private static void addMessageClass(Map<String, Class<? extends Message>> classes, String entry) {
        String name = entry.substring(0, entry.length() - ".class".length()).replace('/', '.');
        try {
            Class<?> candidate = Class.forName(name, false, MessageVectors.class.getClassLoader());
            if (Message.class.isAssignableFrom(candidate) && hasVersions(candidate)) {
                String message = candidate.getSimpleName().replaceAll("(Request|Response|Header)Data$", "$1");
                classes.put(message, candidate.asSubclass(Message.class));
            }
        } catch (ReflectiveOperationException | LinkageError error) {
            // A class that needs what is not here is no message.
        }
    }

    private static boolean hasVersions(Class<?> candidate) throws ReflectiveOperationException {
        if (candidate.isInterface()) {
            return false;
        }
        Message message = (Message) candidate.getDeclaredConstructor().newInstance();
        return message.lowestSupportedVersion() <= message.highestSupportedVersion();
    }

    private static void write(
        Map<String, Class<? extends Message>> classes, long seed, int rounds, Path path
    ) throws Exception {
        MessageVectors vectors = new MessageVectors(seed);
        int count = 0;
        try (DataOutputStream out =
                 new DataOutputStream(new BufferedOutputStream(Files.newOutputStream(path)))) {
            for (Map.Entry<String, Class<? extends Message>> entry : classes.entrySet()) {
                Schema[] schemas = (Schema[]) entry.getValue().getField("SCHEMAS").get(null);
                Message message = instance(entry.getValue());
                for (short version = message.lowestSupportedVersion();
                     version <= message.highestSupportedVersion(); version++) {
                    for (int round = 0; round < rounds; round++) {
                        byte[] bytes = vectors.randomMessage(entry.getValue(), schemas[version], version);
                        writeEntry(out, entry.getKey(), version, bytes);
                        count++;
                    }
                }
            }
        }
        System.out.println(classes.size() + " messages, " + count + " vectors written");
    }

    private static void cross(
        Map<String, Class<? extends Message>> classes, long seed, int rounds, Path path
    ) throws Exception {
        MessageVectors vectors = new MessageVectors(seed);
        int count = 0;
        try (DataOutputStream out =
                 new DataOutputStream(new BufferedOutputStream(Files.newOutputStream(path)))) {
            for (Map.Entry<String, Class<? extends Message>> entry : classes.entrySet()) {
                Schema[] schemas = (Schema[]) entry.getValue().getField("SCHEMAS").get(null);
                Message message = instance(entry.getValue());
                short first = message.lowestSupportedVersion();
                int versions = message.highestSupportedVersion() - first + 1;
                for (int round = 0; versions > 1 && round < rounds * versions; round++) {
                    short from = (short) (first + round % versions);
                    short to = (short) (first + vectors.random.nextInt(versions));
                    byte[] bytes = vectors.randomMessage(entry.getValue(), schemas[from], from);
                    writeEntry(out, entry.getKey(), from, bytes);
                    writeEntry(out, entry.getKey(), to, inOtherVersion(entry.getValue(), bytes, from, to));
                    count++;
                }
            }
        }
        System.out.println(count + " crossings written");
    }

    /** The same message in another version, or null where the classes refuse it. */
    private static byte[] inOtherVersion(Class<? extends Message> kind, byte[] bytes, short from, short to)
        throws ReflectiveOperationException {
        Message message = instance(kind);
        message.read(new ByteBufferAccessor(ByteBuffer.wrap(bytes)), from);
        try {
            return bytesOf(message, to);
        } catch (UnsupportedVersionException | NullPointerException refused) {
            return null;
        }
    }

    private static void writeEntry(DataOutputStream out, String name, short version, byte[] bytes)
        throws IOException {
        out.writeUTF(name);
        out.writeShort(version);
        out.writeInt(bytes == null ? -1 : bytes.length);
        out.write(bytes == null ? new byte[0] : bytes);
    }

    private static boolean check(Map<String, Class<? extends Message>> classes, Path path) throws Exception {
        int same = 0;
        int differing = 0;
        try (DataInputStream in =
                 new DataInputStream(new BufferedInputStream(Files.newInputStream(path)))) {
            while (true) {
                String name;
                try {
                    name = in.readUTF();
                } catch (EOFException end) {
                    break;
                }
                short version = in.readShort();
                byte[] bytes = in.readNBytes(in.readInt());
                String difference = difference(classes.get(name), version, bytes);
                if (difference == null) {
                    same++;
                } else {
                    differing++;
                    System.err.println(name + " version " + version + ": " + difference);
                }
            }
        }
        System.out.println(same + " vectors the same, " + differing + " not");
        return differing == 0 && same > 0;
    }

    /** What is wrong with the bytes of a message, or null. */
    private static String difference(Class<? extends Message> kind, short version, byte[] bytes) {
        if (kind == null) {
            return "unknown message";
        }
        try {
            Message message = instance(kind);
            ByteBuffer buffer = ByteBuffer.wrap(bytes);
            message.read(new ByteBufferAccessor(buffer), version);
            if (buffer.hasRemaining()) {
                return buffer.remaining() + " bytes are left over";
            }
            byte[] again = bytesOf(message, version);
            return Arrays.equals(bytes, again)
                ? null
                : "read and written again, " + Arrays.toString(bytes) + " is " + Arrays.toString(again);
        } catch (Exception error) {
            return error.toString();
        }
    }

    private static Message instance(Class<? extends Message> kind) throws ReflectiveOperationException {
        return kind.getDeclaredConstructor().newInstance();
    }

    private static byte[] bytesOf(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException("the size was told as more than was written");
        }
        return buffer.array();
    }

    private byte[] randomMessage(Class<? extends Message> kind, Schema schema, short version) throws Exception {
        Struct struct = randomStruct(schema);
        ByteBuffer buffer = ByteBuffer.allocate(schema.sizeOf(struct));
        schema.write(buffer, struct);
        buffer.flip();
        Message message = instance(kind);
        message.read(new ByteBufferAccessor(buffer), version);
        return bytesOf(message, version);
    }

    private Struct randomStruct(Schema schema) {
        Struct struct = new Struct(schema);
        for (BoundField field : schema.fields()) {
            struct.set(field, randomValue(field.def.type));
        }
        return struct;
    }

    private Object randomValue(Type type) {
        if (type instanceof TaggedFields) {
            return randomTaggedFields((TaggedFields) type);
        }
        if (type.isNullable() && random.nextInt(4) == 0) {
            return null;
        }
        if (type.isArray()) {
            return randomArray(type.arrayElementType().get());
        }
        if (type instanceof Schema) {
            return randomStruct((Schema) type);
        }
        switch (type.toString()) {
            case "BOOLEAN": return random.nextBoolean();
            case "INT8": return (byte) number();
            case "INT16": return (short) number();
            case "UINT16": return (int) number() & 0xffff;
            case "INT32": return (int) number();
            case "UINT32": return number() & 0xffffffffL;
            case "INT64": return number();
            case "FLOAT64": return (int) number() / 256.0;
            case "UUID": return random.nextInt(8) == 0 ? Uuid.ZERO_UUID : new Uuid(number(), number());
            default: return randomText(type);
        }
    }

    private Object randomText(Type type) {
        String name = type.toString();
        if (name.endsWith("STRING")) {
            StringBuilder text = new StringBuilder();
            for (int length = length(); length > 0; length--) {
                text.append(PIECES[random.nextInt(PIECES.length)]);
            }
            return text.toString();
        }
        byte[] bytes = new byte[length()];
        random.nextBytes(bytes);
        if (name.endsWith("RECORDS")) {
            return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes));
        }
        if (name.endsWith("BYTES")) {
            return ByteBuffer.wrap(bytes);
        }
        throw new IllegalArgumentException("unknown type " + name);
    }

    private Object[] randomArray(Type element) {
        Object[] array = new Object[random.nextInt(depth < 2 ? 4 : 3)];
        depth++;
        for (int index = 0; index < array.length; index++) {
            array[index] = randomValue(element);
        }
        depth--;
        return array;
    }

    private NavigableMap<Integer, Object> randomTaggedFields(TaggedFields type) {
        NavigableMap<Integer, Object> values = new TreeMap<>();
        for (Map.Entry<Integer, Field> field : type.fields().entrySet()) {
            Type kind = field.getValue().type;
            if (random.nextBoolean()) {
                // The schema's marker of a null structure is not the one that the class reads.
                values.put(field.getKey(), kind instanceof Schema ? randomStruct((Schema) kind) : randomValue(kind));
            }
        }
        if (random.nextInt(8) == 0) {
            for (int tag : List.of(5_000, 70_000)) {
                byte[] bytes = new byte[length()];
                random.nextBytes(bytes);
                values.put(tag, new RawTaggedField(tag, bytes));
            }
        }
        return values;
    }

    /** A number, often an extreme one of some width. */
    private long number() {
        switch (random.nextInt(6)) {
            case 0: return 0x8080808080808080L;
            case 1: return -1;
            case 2: return random.nextInt(2);
            default: return random.nextLong();
        }
    }

    private int length() {
        switch (random.nextInt(16)) {
            case 0: return 0;
            case 1: return 60 + random.nextInt(100);
            default: return 1 + random.nextInt(8);
        }
    }
}
