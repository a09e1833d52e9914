package ottla.conformance;

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Apache Kafka's command-line tools one after the other in one Java machine, since to start one
 * for each takes seconds. A line of standard input is a command: the class, what it shall find at its
 * own standard input, and its arguments, each in Base64. The answer is a line with the exit code and
 * the number of bytes that the tool printed, and then these bytes.
 */
public final class Tools {
    /** Thrown in place of the exit that a tool asks for. */
    private static final class Ended extends Error {
        private static final long serialVersionUID = 1;
    }

    private static Integer exitCode;

    private static void end(int code) {
        if (exitCode == null) {
            exitCode = code;
        }
        throw new Ended();
    }

    public static void main(String[] ignored) throws Exception {
        PrintStream answers = System.out;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        Exit.setExitProcedure((code, message) -> end(code));
        Exit.setHaltProcedure((code, message) -> end(code));
        BufferedReader commands =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            List<byte[]> fields =
                Arrays.stream(line.split(" ", -1)).map(Base64.getDecoder()::decode).toList();
            List<String> words =
                fields.stream().map(field -> new String(field, StandardCharsets.UTF_8)).toList();
            System.setIn(new ByteArrayInputStream(fields.get(1)));
            int code = run(words.get(0), words.subList(2, words.size()).toArray(String[]::new));
            System.out.flush();
            answers.println(code + " " + printed.size());
            printed.writeTo(answers);
            answers.flush();
            printed.reset();
        }
    }

    private static int run(String tool, String[] arguments) throws ReflectiveOperationException {
        exitCode = null;
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException thrown) {
            if (!(thrown.getCause() instanceof Ended)) {
                thrown.getCause().printStackTrace();
                return 1;
            }
        }
        return exitCode == null ? 0 : exitCode;
    }
}
