package ottla.conformance;

import com.google.re2j.Pattern;
import com.google.re2j.PatternSyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * What RE2J, which reads Apache Kafka's subscriptions by expression, says of each expression of a file: which of the
 * names in its first line it matches as a whole, or what is wrong with it. Run as
 * {@code ExpressionVectors crates/coordinator/testdata/kafka-4.3.1/expressions.txt}, it writes the file anew.
 */
public final class ExpressionVectors {
    private ExpressionVectors() {}

    public static void main(String[] args) throws Exception {
        Path file = Path.of(args[0]);
        List<String> lines = Files.readAllLines(file, StandardCharsets.UTF_8);
        String[] names = lines.get(0).split(" ");
        List<String> written = new ArrayList<>(List.of(lines.get(0)));
        for (String line : lines.subList(1, lines.size())) {
            String expression = line.split("\t", 2)[0];
            written.add(expression + "\t" + judge(expression, names));
        }
        Files.write(file, written, StandardCharsets.UTF_8);
    }

    private static String judge(String expression, String[] names) {
        Pattern pattern;
        try {
            pattern = Pattern.compile(expression);
        } catch (PatternSyntaxException wrong) {
            return wrong.getDescription();
        }
        StringBuilder matched = new StringBuilder();
        for (String name : names) {
            matched.append(pattern.matcher(name).matches() ? '1' : '0');
        }
        return matched.toString();
    }
}
