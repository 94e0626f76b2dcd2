import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;

/** What a program asks of the test that runs it. */
final class Please {
    private static final BufferedReader ANSWERS = new BufferedReader(new InputStreamReader(System.in));

    private Please() {}

    /** Ends all connections that go through the proxy, and refuses new ones. */
    static void cut() throws IOException {
        ask("cut");
    }

    /** Ends a cut. */
    static void restore() throws IOException {
        ask("restore");
    }

    /** Kills the server. */
    static void kill() throws IOException {
        ask("kill");
    }

    /** Kills the server, if it runs, and starts it again. */
    static void restart() throws IOException {
        ask("restart");
    }

    private static void ask(String what) throws IOException {
        System.out.println("please " + what);
        if (!"done".equals(ANSWERS.readLine())) throw new IOException("nobody to " + what);
    }
}
