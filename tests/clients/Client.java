import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Works as Spring AI and LangChain4j do: Java's own HttpClient, which asks for HTTP/2 with the first request. */
public class Client {
    private static final String TOOL = "{\"type\":\"function\",\"function\":{\"name\":\"write_file\",\"parameters\":{\"type\":\"object\","
            + "\"properties\":{\"file_path\":{\"type\":\"string\"},\"content\":{\"type\":\"string\"}},"
            + "\"required\":[\"file_path\",\"content\"]}}}";

    public static void main(String[] arguments) throws Exception {
        String asked = user(arguments[arguments.length - 1]);
        String history = arguments.length > 1 ? user(Files.readString(Path.of(arguments[0]))) + "," : "";
        String conversation = history + asked;
        while (true) {
            HttpResponse<String> answer = send(conversation);
            if (answer.statusCode() == 429) {
                Thread.sleep(1000 * Long.parseLong(answer.headers().firstValue("retry-after").orElseThrow()));
            } else if (answer.statusCode() == 400 && find("\"code\":\"(context_length_exceeded)\"", answer.body()) != null) {
                System.out.println("too long: going on without what was read");
                conversation = asked;
            } else if (answer.statusCode() != 200) {
                throw new IllegalStateException(answer.statusCode() + " " + answer.body());
            } else if (find("\"tool_calls\":\\[\\{.*?\"id\":\"([^\"]+)\"", answer.body()) == null) {
                System.out.println(find("\"content\":\"([^\"]*)\"", answer.body()));
                return;
            } else {
                conversation += "," + worked(answer.body());
            }
        }
    }

    /** A client of its own for each: so each is a first request, which asks for HTTP/2. */
    private static HttpResponse<String> send(String conversation) throws Exception {
        String body = "{\"model\":\"auto\",\"tools\":[" + TOOL + "],\"messages\":[" + conversation + "]}";
        URI address = URI.create(System.getenv("OPENAI_BASE_URL") + "/chat/completions");
        HttpRequest request = HttpRequest.newBuilder(address).header("content-type", "application/json")
                .header("authorization", "Bearer any").POST(HttpRequest.BodyPublishers.ofString(body)).build();
        return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    }

    /** Does what the answer calls for; gives the turns that tell of it. */
    private static String worked(String answer) throws Exception {
        String id = find("\"tool_calls\":\\[\\{.*?\"id\":\"([^\"]+)\"", answer);
        String call = find("\"arguments\":\"((?:[^\"\\\\]|\\\\.)*)\"", answer);
        String given = call.replace("\\\"", "\"").replace("\\\\", "\\");
        Files.writeString(Path.of(find("\"file_path\": ?\"([^\"]+)\"", given)), find("\"content\": ?\"([^\"]+)\"", given).replace("\\n", "\n"));
        String made = "{\"id\":\"" + id + "\",\"type\":\"function\",\"function\":{\"name\":\"write_file\",\"arguments\":\"" + call + "\"}}";
        return "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[" + made + "]},"
                + "{\"role\":\"tool\",\"tool_call_id\":\"" + id + "\",\"content\":\"written\"}";
    }

    private static String user(String text) {
        return "{\"role\":\"user\",\"content\":\"" + text.replace("\n", "\\n") + "\"}";
    }

    private static String find(String pattern, String text) {
        Matcher found = Pattern.compile(pattern, Pattern.DOTALL).matcher(text);
        return found.find() ? found.group(1) : null;
    }
}
